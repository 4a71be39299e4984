"""A llama forward pass in NumPy float64, written from the papers and not from Transformers.

It is the second opinion: golden logits are written only where both agree. Names and the half-split rotary layout are
those of Hugging Face checkpoints.
"""
import math

import numpy as np


def frequencies(config, length):
    """(freq[dim/2], magnitude) of the rotary schedule for a sequence of `length` tokens."""
    rope = config.rope_parameters
    dim, base, kind = config.head_dim, rope["rope_theta"], rope["rope_type"]
    window = config.max_position_embeddings
    # Phi-3 files keep the original window outside the dict; Transformers gives that place priority.
    original = getattr(config, "original_max_position_embeddings", rope.get("original_max_position_embeddings", window))
    factor = rope.get("factor", window / original)
    pair = np.arange(dim // 2)
    freq = np.array([base ** (-2.0 * i / dim) for i in pair])
    if kind == "default":
        return freq, 1.0
    if kind == "linear":
        return freq / factor, 1.0
    if kind == "dynamic":
        if length <= window:
            return freq, 1.0
        scaled = base * (factor * length / window - (factor - 1.0)) ** (dim / (dim - 2.0))
        return np.array([scaled ** (-2.0 * i / dim) for i in pair]), 1.0
    if kind == "yarn":
        def pair_of(rotations):
            return dim * math.log(original / (2.0 * math.pi * rotations)) / (2.0 * math.log(base))
        low = max(0, math.floor(pair_of(rope.get("beta_fast") or 32)))
        high = min(dim - 1, math.ceil(pair_of(rope.get("beta_slow") or 1)))
        ramp = np.clip((pair - low) / (high - low if high > low else 0.001), 0.0, 1.0)
        return freq / factor * ramp + freq * (1.0 - ramp), rope.get("attention_factor") or 0.1 * math.log(factor) + 1.0
    if kind == "llama3":
        out = []
        for f in freq:
            turns = original * f / (2.0 * math.pi)  # rotations inside the original window
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
            out.append((1.0 - smooth) * f / factor + smooth * f)
        return np.array(out), 1.0
    if kind == "longrope":
        divisor = np.array(rope["long_factor" if length > original else "short_factor"])
        return freq / divisor, rope.get("attention_factor") or math.sqrt(1.0 + math.log(factor) / math.log(original))
    raise ValueError(kind)


def _norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def _rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)


def logits(config, state, ids):
    """state: name -> float64 array. Returns [len(ids), vocab]."""
    n, heads, kv_heads, dim = len(ids), config.num_attention_heads, config.num_key_value_heads, config.head_dim
    freq, magnitude = frequencies(config, n)
    angle = np.outer(np.arange(n), freq)
    cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
    future = np.triu(np.ones((n, n), bool), 1)
    x = state["model.embed_tokens.weight"][np.asarray(ids)]
    for layer in range(config.num_hidden_layers):
        w = {key: state[f"model.layers.{layer}.{key}.weight"] for key in (
            "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
            "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
        h = _norm(x, w["input_layernorm"], config.rms_norm_eps)
        q, k, v = (h @ w[f"self_attn.{name}_proj"].T for name in "qkv")
        out = np.empty((n, heads * dim))
        for head in range(heads):
            group = head // (heads // kv_heads)
            qh = _rotate(q[:, head * dim:(head + 1) * dim], cos, sin)
            kh = _rotate(k[:, group * dim:(group + 1) * dim], cos, sin)
            score = qh @ kh.T / math.sqrt(dim)
            score[future] = -np.inf
            score = np.exp(score - score.max(axis=1, keepdims=True))
            score /= score.sum(axis=1, keepdims=True)
            out[:, head * dim:(head + 1) * dim] = score @ v[:, group * dim:(group + 1) * dim]
        x = x + out @ w["self_attn.o_proj"].T
        h = _norm(x, w["post_attention_layernorm"], config.rms_norm_eps)
        gate = h @ w["mlp.gate_proj"].T
        x = x + (gate / (1.0 + np.exp(-gate)) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
    x = _norm(x, state["model.norm.weight"], config.rms_norm_eps)
    return x @ state.get("lm_head.weight", state["model.embed_tokens.weight"]).T
