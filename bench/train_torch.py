#!/usr/bin/env python3
"""Training speed and memory of PyTorch beside bench_train: the same shapes, random weights and ids, fp32, AdamW.

    train_torch.py MODEL BATCH LENGTH [STEPS] [plain] [compile]

MODEL is a folder with the config.json of a llama or a GPT-2. "plain" computes attention by its formula, with all scores in
memory, instead of PyTorch's fused one; "compile" passes the model through torch.compile. Threads are OMP_NUM_THREADS.
Used with torch 2.15.0, Python 3.11.
"""
import json
import pathlib
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def attention_by_formula(query, key, value, is_causal):
    length = query.shape[-2]
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value


def rotated(x, cosine, sine):
    """Coordinates i and i + half are a pair."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


class Layer(nn.Module):
    """Either family: norm, attention, norm, feed-forward, each added to the stream."""

    def __init__(self, shape, attend):
        super().__init__()
        width, inner, self.llama, self.attend = shape["width"], shape["inner"], shape["llama"], attend
        self.heads = shape["heads"]
        norm = (lambda: nn.RMSNorm(width, eps=1e-5)) if self.llama else (lambda: nn.LayerNorm(width))
        self.before_attention, self.before_feed_forward = norm(), norm()
        self.inputs = nn.Linear(width, 3 * width, bias=not self.llama)
        self.output = nn.Linear(width, width, bias=not self.llama)
        self.up = nn.Linear(width, inner * (2 if self.llama else 1), bias=not self.llama)
        self.down = nn.Linear(inner, width, bias=not self.llama)

    def forward(self, x, angles):
        parts = self.inputs(self.before_attention(x)).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        query, key, value = parts.unbind(2)
        if self.llama:
            query, key = rotated(query, *angles), rotated(key, *angles)
        seen = self.attend(query, key, value, is_causal=True)
        x = x + self.output(seen.transpose(1, 2).flatten(2))
        wide = self.up(self.before_feed_forward(x))
        if self.llama:
            gate, wide = wide.chunk(2, -1)
            return x + self.down(functional.silu(gate) * wide)
        return x + self.down(functional.gelu(wide, approximate="tanh"))


class Model(nn.Module):
    """Ids [batch, length] to logits, the head tied to the embedding."""

    def __init__(self, shape, length, attend):
        super().__init__()
        width, self.llama = shape["width"], shape["llama"]
        self.embedding = nn.Embedding(shape["vocab"], width)
        self.positions = None if self.llama else nn.Embedding(shape["positions"], width)
        self.layers = nn.ModuleList(Layer(shape, attend) for _ in range(shape["layers"]))
        self.norm = nn.RMSNorm(width, eps=1e-5) if self.llama else nn.LayerNorm(width)
        head_dim = width // shape["heads"]
        turns = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        self.angles = turns.cos(), turns.sin()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids):
        x = self.embedding(ids)
        if self.positions:
            x = x + self.positions.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, self.angles)
        return functional.linear(self.norm(x), self.embedding.weight)


def shape_of(folder):
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    if config["model_type"] == "gpt2":
        return {"llama": False, "width": config["n_embd"], "layers": config["n_layer"], "heads": config["n_head"],
                "inner": config.get("n_inner") or 4 * config["n_embd"], "vocab": config["vocab_size"],
                "positions": config["n_positions"]}
    heads = config["num_attention_heads"]
    if config["model_type"] != "llama" or config.get("num_key_value_heads", heads) != heads:
        sys.exit("only llama without grouped queries, and gpt2")
    if not config.get("tie_word_embeddings"):
        sys.exit("only with a tied head")
    return {"llama": True, "width": config["hidden_size"], "layers": config["num_hidden_layers"], "heads": heads,
            "inner": config["intermediate_size"], "vocab": config["vocab_size"]}


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    batch, length = int(sys.argv[2]), int(sys.argv[3])
    words = sys.argv[4:]
    steps = int(words.pop(0)) if words and words[0].isdigit() else 5
    if set(words) - {"plain", "compile"}:
        sys.exit(__doc__)
    torch.manual_seed(0)
    shape = shape_of(sys.argv[1])
    attend = attention_by_formula if "plain" in words else functional.scaled_dot_product_attention
    model = Model(shape, length, attend)
    forward = torch.compile(model) if "compile" in words else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    seconds = []
    for step in range(steps + 1):  # the first is not counted
        ids = torch.randint(shape["vocab"], (batch, length + 1))
        start = time.perf_counter()
        logits = forward(ids[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        del logits
        loss.backward()
        optimizer.step()
        if step:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {batch} x {length}, {torch.get_num_threads()} threads, "
          f"PyTorch {torch.__version__}: loss {loss.item():.4f}, median {1e3 * median:.1f} ms/step "
          f"(best {1e3 * min(seconds):.1f}), {batch * length / median:.0f} tokens/s, "
          f"peak resident {peak / 1e6:.0f} MB")


main()
