"""Logits under schemes that change distances, in float64: tests/data/golden/passes/*.

    python tools/oracle/passes.py

Naive on purpose and written from the papers: a full matrix of relative positions for every query and key, the score of
a pair of components turned by that distance, a mask of what is seen. StreamingLLM's cache is simulated token by token.
Nothing here knows of passes, stored keys or merged softmaxes. Weights are those of tests/data/tiny and stories260K;
frequencies come from plain.py, checked there against Transformers.
"""
import math

import numpy as np
import torch
from transformers import AutoConfig

from golden import GOLDEN, TINY, write_array, write_record
from llama2c import locate, read_checkpoint
from plain import frequencies
from tiny import load


def exact(n):
    return torch.arange(n)[:, None] - torch.arange(n)[None, :], torch.ones(n, n, dtype=torch.bool).tril()


def self_extend(n, group, near):
    """The repository's self_extend_forward: two matrices of scores, chosen by distance."""
    distance, seen = exact(n)
    position = torch.arange(n)
    grouped = (position // group + near - near // group)[:, None] - (position // group)[None, :]
    return torch.where(distance < near, distance, grouped).double(), seen


def rerope(n, near, leak=None):
    distance, seen = exact(n)
    far = near + (distance.double() - near) / leak if leak else torch.full((n, n), float(near))
    return torch.where(distance < near, distance.double(), far.double()), seen


def dual_chunk(n, chunk, last):
    """Equations 2, 5 and 9 of the paper, chunk by chunk."""
    distance = torch.zeros(n, n)
    for i in range(n):
        for j in range(i + 1):
            key = j % chunk
            if i // chunk == j // chunk:
                query = i % chunk
            elif i // chunk == j // chunk + 1:
                query = min(chunk + i % chunk, last)
            else:
                query = last
            distance[i, j] = query - key
    return distance.double(), exact(n)[1]


def stream(n, sinks, recent):
    """A cache of token numbers, evicted from the middle; positions are places in it."""
    distance, seen, cache = torch.zeros(n, n), torch.zeros(n, n, dtype=torch.bool), []
    for i in range(n):
        cache.append(i)
        if len(cache) > sinks + recent:
            del cache[sinks]
        for place, j in enumerate(cache):
            seen[i, j] = True
            distance[i, j] = len(cache) - 1 - place
    return distance.double(), seen


def logn(n, window, everywhere=False):
    factor = torch.log(torch.arange(n).double() + 1) / math.log(window)
    return factor if everywhere else factor.clip(min=1)


def logits(config, state, ids, relative, scale=None, length=None):
    """relative: (distance [n, n], seen [n, n]). scale: factors of the logits of each query."""
    n, heads, kv_heads, dim = len(ids), config.num_attention_heads, config.num_key_value_heads, config.head_dim
    freq, magnitude = frequencies(config, length or n)
    distance, seen = relative
    cos = torch.cos(distance[:, :, None] * torch.tensor(freq)) * magnitude ** 2
    sin = torch.sin(distance[:, :, None] * torch.tensor(freq)) * magnitude ** 2
    scale = torch.ones(n, dtype=torch.float64) if scale is None else scale
    half = dim // 2

    def norm(x, weight):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + config.rms_norm_eps) * weight

    x = state["model.embed_tokens.weight"][torch.tensor(ids)]
    for layer in range(config.num_hidden_layers):
        w = {key: state[f"model.layers.{layer}.{key}.weight"] for key in (
            "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
            "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
        h = norm(x, w["input_layernorm"])
        q, k, v = (h @ w[f"self_attn.{name}_proj"].T for name in "qkv")
        parts = []
        for head in range(heads):
            group = head // (heads // kv_heads)
            qh, kh = q[:, head * dim:(head + 1) * dim], k[:, group * dim:(group + 1) * dim]
            score = torch.zeros(n, n, dtype=torch.float64)
            for i in range(half):
                qa, qb, ka, kb = qh[:, i], qh[:, i + half], kh[:, i], kh[:, i + half]
                score += (qa[:, None] * ka + qb[:, None] * kb) * cos[:, :, i]
                score += (qa[:, None] * kb - qb[:, None] * ka) * sin[:, :, i]
            score = score / math.sqrt(dim) * scale[:, None]
            weight = torch.softmax(score.masked_fill(~seen, -math.inf), dim=-1)
            parts.append(weight @ v[:, group * dim:(group + 1) * dim])
        x = x + torch.cat(parts, dim=1) @ w["self_attn.o_proj"].T
        h = norm(x, w["post_attention_layernorm"])
        x = x + (torch.nn.functional.silu(h @ w["mlp.gate_proj"].T) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
    x = norm(x, state["model.norm.weight"])
    return x @ state.get("lm_head.weight", state["model.embed_tokens.weight"]).T


ROWS = {300: (0, 33, 100, 128, 200, 257, 299), 1300: (300, 700, 1299)}


def record(name, model, ids, relative, **more):
    config, state = model
    n = len(ids)
    result = logits(config, state, ids, relative, **more)[list(ROWS[n])].numpy()
    file = write_array(GOLDEN / "passes" / name, result, "f64")
    lines = ["# float64 logits [rows, vocab] of a text of so many tokens", f"tokens {n}", f"vocab {config.vocab_size}",
             f"rows {len(ROWS[n])}", "row_position " + " ".join(str(i) for i in ROWS[n]), f"logits {file}"]
    write_record(GOLDEN / "passes" / f"{name}.txt", "passes.py", lines)
    print(f"{name:24} std {result.std():.2f}")
    return result


def tiny(folder, config_file):
    config = AutoConfig.from_pretrained(TINY / config_file)
    state = {key: value.double() for key, value in load(folder).items()}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return config, state


def main():
    n = 300
    ids = np.random.default_rng(20).integers(0, 320, n).tolist()
    write_array(GOLDEN / "passes/ids", ids, "i32")
    llama, tied, yarn = tiny("llama", "llama/config.json"), tiny("llama_tied", "llama_tied/config.json"), \
        tiny("llama", "rope_yarn.json")
    plain = record("plain", llama, ids, exact(n))
    second = __import__("plain").logits(llama[0], {k: v.numpy() for k, v in llama[1].items()}, ids)
    assert np.abs(plain - second[list(ROWS[n])]).max() < 1e-10  # the pair formula is the rotation
    record("self_extend", llama, ids, self_extend(n, 4, 32))
    record("rerope", llama, ids, rerope(n, 40))
    record("leaky_rerope", llama, ids, rerope(n, 40, 8.0))
    record("dual_chunk", llama, ids, dual_chunk(n, 96, 127))
    record("dual_chunk_code", llama, ids, dual_chunk(n, 80, 96))
    record("stream", llama, ids, stream(n, 4, 60))
    record("stream_no_sinks", llama, ids, stream(n, 0, 60))
    record("logn_beyond", llama, ids, exact(n), scale=logn(n, 128))
    record("logn_everywhere", llama, ids, exact(n), scale=logn(n, 100, True))
    record("logn_length", llama, ids, exact(n), scale=torch.full((n,), 1 + 0.1 * math.log(n / 128), dtype=torch.float64))
    record("rerope_logn", llama, ids, rerope(n, 40), scale=logn(n, 128))
    record("stream_logn", llama, ids, stream(n, 4, 60), scale=logn(n, 32).clip(max=math.log(64) / math.log(32)))
    record("tied_self_extend", tied, ids, self_extend(n, 8, 64))
    record("tied_dual_chunk", tied, ids, dual_chunk(n, 96, 127))
    record("yarn_self_extend", yarn, ids, self_extend(n, 2, 64))
    record("yarn_rerope", yarn, ids, rerope(n, 64))
    checkpoint, _ = locate("stories260K")
    config, state = read_checkpoint(checkpoint)
    stories = config, {key: torch.tensor(np.asarray(value)).double() for key, value in state.items()}
    text = np.fromfile(GOLDEN / "stories260K/text.i32.bin", dtype="<i4").tolist()
    n = 1300
    text = (text * (n // len(text) + 1))[:n]
    record("stories_self_extend", stories, text, self_extend(n, 8, 128))
    record("stories_rerope", stories, text, rerope(n, 256))
    record("stories_dual_chunk", stories, text, dual_chunk(n, 384, 511))
    record("stories_stream", stories, text, stream(n, 4, 252))


if __name__ == "__main__":
    main()
