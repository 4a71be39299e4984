"""Golden logits and training runs of llamas with the positions that come with pre-training: ALiBi, xPos, sinusoidal, none.

    python tools/oracle/positions.py       make everything again (the same bytes for the same versions)

No Transformers class computes these, so the model is written here in PyTorch, in float64, from the papers; with rotary
positions it must agree with Transformers' llama to 1e-10, which vouches for all but the positions. The weights are those
of tests/data/tiny/llama, the configs tests/data/tiny/positions_<kind>.json. Records are those of tiny.py and train.py.

- alibi (Press et al. 2021): -m_h (p_q - p_k) is added to the logits; slopes by the authors' get_slopes.
- xpos (Sun et al. 2022): after the rotation, queries times zeta^(p/512), keys times zeta^(-p/512), zeta_i =
  (2i/d + 0.4)/1.4. Blockwise causal attention with blocks of half the window: own block and the one before.
- sinusoidal (Vaswani et al. 2017): sin and cos of p/10000^(2i/width), side by side, are added to the embeddings.
- none: the causal mask alone (Kazemnejad et al. 2023).
"""
import json
import math
import types

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from golden import GOLDEN, TEXT, TINY, write_array, write_record
from tiny import BEYOND, LENGTHS, SHORT, VOCAB, last_rows
from train import CLIP, DECAY, PEAK, WARMUP, train

KINDS = ("alibi", "xpos", "sinusoidal", "none")
STEPS, ROWS, LENGTH = 8, 2, 48


def get_slopes(n):
    """As published with the paper (attention_with_linear_biases)."""
    def power_of_2(n):
        start = 2 ** (-2 ** -(math.log2(n) - 3))
        return [start * start ** i for i in range(n)]
    if math.log2(n).is_integer():
        return power_of_2(n)
    closest = 2 ** math.floor(math.log2(n))
    return power_of_2(closest) + get_slopes(2 * closest)[0::2][:n - closest]


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        heads, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
        self.q_proj, self.k_proj = linear(c["hidden_size"], heads), linear(c["hidden_size"], kv)
        self.v_proj, self.o_proj = linear(c["hidden_size"], kv), linear(heads, c["hidden_size"])

    def forward(self, x):
        c, kind, d = self.c, self.c.get("position_embedding_type", "rotary"), self.c["head_dim"]
        rows, n, _ = x.shape
        heads, group = c["num_attention_heads"], c["num_attention_heads"] // c["num_key_value_heads"]
        q = self.q_proj(x).view(rows, n, heads, d).transpose(1, 2)
        k = self.k_proj(x).view(rows, n, -1, d).transpose(1, 2)
        v = self.v_proj(x).view(rows, n, -1, d).transpose(1, 2)
        p = torch.arange(n, dtype=x.dtype)
        if kind in ("rotary", "xpos"):
            pair = torch.arange(d // 2, dtype=x.dtype)
            angle = torch.outer(p, 10000.0 ** (-2.0 * pair / d))
            scale = torch.ones_like(angle)
            if kind == "xpos":
                scale = ((2.0 * pair / d + 0.4) / 1.4) ** (p[:, None] / 512.0)

            def turned(t, by):
                a, b = t[..., :d // 2], t[..., d // 2:]
                return torch.cat((by * (a * angle.cos() - b * angle.sin()), by * (b * angle.cos() + a * angle.sin())), -1)
            q, k = turned(q, scale), turned(k, 1.0 / scale)
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        logits = q @ k.transpose(2, 3) / math.sqrt(d)
        distance = p[:, None] - p[None, :]
        if kind == "alibi":
            logits = logits - torch.tensor(get_slopes(heads), dtype=x.dtype)[:, None, None] * distance
        hidden = distance < 0
        if kind == "xpos":
            block = c["max_position_embeddings"] // 2
            hidden = hidden | (torch.div(p, block, rounding_mode="floor")[:, None]
                               - torch.div(p, block, rounding_mode="floor")[None, :] > 1)
        out = logits.masked_fill(hidden, -math.inf).softmax(-1) @ v
        return self.o_proj(out.transpose(1, 2).reshape(rows, n, heads * d))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.up_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.down_proj = linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = FeedForward(c)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.model.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.lm_head = linear(c["hidden_size"], c["vocab_size"])

    def forward(self, ids, use_cache=False):
        x = self.model.embed_tokens(ids)
        if self.c.get("position_embedding_type") == "sinusoidal":
            n, width = x.shape[1:]
            angle = torch.outer(torch.arange(n, dtype=x.dtype), 10000.0 ** (-torch.arange(0, width, 2, dtype=x.dtype) / width))
            x = x + torch.stack((angle.sin(), angle.cos()), -1).reshape(n, width)
        for layer in self.model.layers:
            x = layer(x)
        return types.SimpleNamespace(logits=self.lm_head(self.model.norm(x)))


def model_of(config, dtype):
    model = Llama(config).to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in load_file(TINY / "llama/model.safetensors").items()})
    return model


def logits(config, dtype, ids):
    with torch.no_grad():
        return model_of(config, dtype)(torch.tensor([ids])).logits[0].double().numpy()


def record_logits(name, config, ids):
    lengths = LENGTHS + (BEYOND,)
    exact = last_rows(lambda n: logits(config, torch.float64, ids[:n]), lengths)
    error = np.abs(last_rows(lambda n: logits(config, torch.float32, ids[:n]), lengths) - exact).max(axis=1)
    assert error.max() < 1e-2, (name, error)
    file = write_array(GOLDEN / "tiny" / name, exact, "f64")
    lines = ["# float64 logits [rows, vocab]; float32_error: largest |difference| of float32 in each row",
             "weights tiny/llama", f"config tiny/{name}.json", f"vocab {VOCAB}", f"rows {len(exact)}",
             "row_length " + " ".join([str(SHORT)] * SHORT + [str(n) for n in lengths]),
             "row_position " + " ".join([str(i) for i in range(SHORT)] + [str(n - 1) for n in lengths]),
             "float32_error " + " ".join(f"{e:.1e}" for e in error),
             f"logits_std {exact.std():.3f}", f"logits {file}"]
    write_record(GOLDEN / "tiny" / f"{name}.txt", "positions.py", lines)
    print(f"{name:22} std {exact.std():.2f}  float32 error {error.max():.1e}")
    return exact


def record_training(name, config, ids):
    begin = np.random.default_rng(7).integers(0, len(ids) - LENGTH, (STEPS, ROWS))
    batches = np.array([[ids[b:b + LENGTH + 1] for b in step] for step in begin], dtype=np.int64)
    exact, _, _ = train(model_of(config, torch.float64), batches)
    single, _, _ = train(model_of(config, torch.float32), batches)
    error = max(abs(a[1] - b[1]) for a, b in zip(exact, single))
    print(f"{name:22} loss {exact[0][1]:.6f} -> {exact[-1][1]:.6f}; float32 error {error:.1e}")
    file = write_array(GOLDEN / f"train/{name}_batch", batches, "i32")
    lines = [f"batch {file}", f"steps {STEPS}", f"rows {ROWS}", f"length {LENGTH}", f"peak {PEAK}", f"warmup {WARMUP}",
             f"clip {CLIP}", f"decay {DECAY}", f"float32_loss_error {error:.1e}",
             "# step, lr, loss, norm in float64; loss, norm in float32"]
    lines += [f"step {i} {a[0]:.8g} {a[1]:.9f} {a[2]:.9g} {b[1]:.7f} {b[2]:.7g}"
              for i, (a, b) in enumerate(zip(exact, single))]
    write_record(GOLDEN / f"train/{name}.txt", "positions.py", lines)


def main():
    plain = json.loads((TINY / "llama/config.json").read_text())
    ids = np.fromfile(GOLDEN / "tiny/ids.i32.bin", "<i4").tolist()
    rotary = last_rows(lambda n: logits(plain, torch.float64, ids[:n]), LENGTHS + (BEYOND,))
    known = np.fromfile(GOLDEN / "tiny/llama.f64.bin", "<f8").reshape(rotary.shape)
    assert np.abs(rotary - known).max() < 1e-10, np.abs(rotary - known).max()
    text = list((TEXT / "stories.txt").read_bytes())
    for kind in KINDS:
        config = plain | {"model_type": "furlong_llama", "architectures": ["FurlongLlamaForCausalLM"],
                          "position_embedding_type": kind}
        if kind != "xpos":
            del config["rope_parameters"]
        name = f"positions_{kind}"
        (TINY / f"{name}.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        exact = record_logits(name, config, ids)
        assert np.abs(exact - known).max() > 0.1, kind
        record_training(name, config, text)


if __name__ == "__main__":
    main()
