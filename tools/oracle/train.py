"""Golden training runs: tests/data/golden/train/<run>.txt with losses, gradient norms and first gradients.

    python tools/oracle/train.py [RUN ...]      these runs; all of them without names

Each run trains a checkpoint of the repository with torch.optim.AdamW twice, in float64 (the reference) and in float32
(the yardstick), on the same fixed batches, and records what a reader must do alike:

- <run>_batch.i32.bin [steps, rows, length + 1]: inputs are the first `length` ids of a row, targets the last `length`;
  loss = mean of -ln p over all rows * length targets of the step, before that step's update.
- AdamW, betas 0.9 0.95, eps 1e-8, decoupled weight decay 0.1 on every parameter of two dimensions (embeddings and head
  too; a tied head is one parameter) and none on norms and biases. For step t = 1, 2, ...: p -= lr decay p; then
  p -= lr m / (1 - 0.9^t) / (sqrt(v) / sqrt(1 - 0.95^t) + eps).
- lr(step) = peak (0.1 + 0.9 step / warmup) for step = 0 .. warmup - 1, then peak.
- Clipping: the norm is over all gradients together (recorded before clipping); all are multiplied by
  min(1, 1 / (norm + 1e-6)).

<run>_gradient.f32.bin holds the gradients of step 0 before clipping (computed in float64, rounded), one parameter after
the other as the "parameter" lines list them: name, offset in numbers, its gradient's norm, its own norm after the last
step, dimensions. (The key third of GPT-2's c_attn.bias has a gradient of zero in exact arithmetic; AdamW turns its
rounding noise into steps, so that bias is the one parameter that float32 runs do not share to six digits.)
"""
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from double import default_double, double_model, file_name, model_names, single_class
from golden import GOLDEN, TEXT, TINY, write_array, write_record
from llama2c import Tokenizer, locate, read_checkpoint

PEAK, WARMUP, CLIP, DECAY = 1e-3, 5, 1.0, 0.1


def tiny(folder):
    config = AutoConfig.from_pretrained(TINY / folder)
    state = model_names(load_file(TINY / folder / "model.safetensors"))
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["transformer.wte.weight"]
    ids = list((TEXT / "stories.txt").read_bytes())  # every byte is an id
    return config, state, ids


def stories():
    checkpoint, vocabulary = locate("stories260K")
    config, state = read_checkpoint(checkpoint)
    text = (TEXT / "stories.txt").read_text(encoding="utf-8")
    return config, state, Tokenizer(vocabulary, config.vocab_size).encode(text, bos=False)


# run -> (checkpoint, steps, rows, length)
RUNS = {
    "llama": (lambda: tiny("llama"), 50, 4, 32),
    "llama_shifted": (lambda: tiny("llama"), 5, 2, 44),
    "gpt2": (lambda: tiny("gpt2"), 20, 4, 32),
    "stories260K": (stories, 20, 4, 128),
    "qwen3": (lambda: tiny("qwen3"), 5, 2, 48),
    "phi3": (lambda: tiny("phi3"), 5, 2, 48),
    "gpt_neox": (lambda: tiny("gpt_neox"), 5, 2, 48),
}


# run -> tokens of a group of LongLoRA's shifted sparse attention, in the form without wrap-around
GROUPS = {"llama_shifted": 12}


def shifted_mask(heads, length, group, dtype):
    """Added to the logits of [rows, heads, length, length]: a token sees its group up to itself; for the second half of
    the heads the cuts lie half a group further."""
    at = torch.arange(length)
    masks = []
    for head in range(heads):
        shift = 0 if head < heads // 2 else group // 2
        block = (at - shift).div(group, rounding_mode="floor")
        seen = (block[:, None] == block[None, :]) & (at[None, :] <= at[:, None])
        masks.append(torch.where(seen, 0.0, float("-inf")))
    return torch.stack(masks)[None].to(dtype)


def single_model(config, state):
    model = single_class(config)(config)
    model.load_state_dict(state)
    model.tie_weights()
    return model.eval()


def train(model, batches, tokens=0):
    """([(lr, loss, norm) of each step], {name: first gradient}, {name: norm after the last step})."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [{"params": [p for p in named.values() if p.dim() == 2], "weight_decay": DECAY},
              {"params": [p for p in named.values() if p.dim() != 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), eps=1e-8, foreach=False, fused=False)
    steps, first = [], None
    for step, batch in enumerate(torch.tensor(batches)):
        rate = PEAK * min(1.0, 0.1 + 0.9 * step / WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        inputs = {"use_cache": False}
        if tokens:
            mask = shifted_mask(model.config.num_attention_heads, batch.shape[1] - 1, tokens, model.dtype)
            inputs["attention_mask"] = mask.expand(len(batch), -1, -1, -1)
        logits = model(batch[:, :-1], **inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        if first is None:
            first = {name: p.grad.numpy().copy() for name, p in named.items()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        steps.append((rate, loss.item(), norm.item()))
    return steps, first, {name: p.detach().double().norm().item() for name, p in named.items()}


def main():
    for run in sys.argv[1:] or RUNS:
        checkpoint, steps, rows, length = RUNS[run]
        config, state, ids = checkpoint()
        generator = np.random.default_rng(7)
        begin = generator.integers(0, len(ids) - length, (steps, rows))
        batches = np.array([[ids[b:b + length + 1] for b in step] for step in begin], dtype=np.int64)
        with default_double():
            exact, gradient, norms = train(double_model(config, state), batches, GROUPS.get(run, 0))
        single, gradient32, norms32 = train(single_model(config, state), batches, GROUPS.get(run, 0))
        error = max(np.abs(gradient32[name] - g).max() for name, g in gradient.items())
        loss_error = max(abs(a[1] - b[1]) for a, b in zip(exact, single))
        norm_error = max(abs(norms[name] / norms32[name] - 1.0) for name in norms)
        print(f"{run}: loss {exact[0][1]:.6f} -> {exact[-1][1]:.6f}; float32: loss {loss_error:.1e}, "
              f"gradient {error:.1e}, final norms {norm_error:.1e}")
        batch_file = write_array(GOLDEN / f"train/{run}_batch", batches, "i32")
        lines = [f"batch {batch_file}", f"steps {steps}", f"rows {rows}", f"length {length}", f"peak {PEAK}",
                 f"warmup {WARMUP}", f"clip {CLIP}", f"decay {DECAY}", f"group {GROUPS.get(run, 0)}", f"float32_loss_error {loss_error:.1e}",
                 f"float32_gradient_error {error:.1e}", f"float32_final_norm_relative_error {norm_error:.1e}"]
        if run != "stories260K":
            flat = np.concatenate([g.ravel() for g in gradient.values()])
            file = write_array(GOLDEN / f"train/{run}_gradient", flat, "f32")
            lines.append(f"gradient {file}")
        lines.append("# step, lr, loss, norm in float64; loss, norm in float32")
        lines += [f"step {i} {a[0]:.8g} {a[1]:.9f} {a[2]:.9g} {b[1]:.7f} {b[2]:.7g}"
                  for i, (a, b) in enumerate(zip(exact, single))]
        lines.append("# parameter, offset, norm of the first gradient, norm after the last step, dimensions")
        offset = 0
        for name, g in gradient.items():
            shape = " ".join(map(str, g.shape))
            size = f"{np.linalg.norm(g):.9g} {norms[name]:.9g}"
            lines.append(f"parameter {file_name(config, name)} {offset} {size} {shape}")
            offset += g.size
        write_record(GOLDEN / f"train/{run}.txt", "train.py", lines)


if __name__ == "__main__":
    main()
