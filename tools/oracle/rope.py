#!/usr/bin/env python3
"""Rotary frequencies of Transformers' ROPE_INIT_FUNCTIONS, for every kind, as golden numbers.

The functions compute in fp32; here their fp32 is replaced by fp64 while they run, so that the numbers show the formulas
and not the rounding. One record per case: lines "key value...", closed by a "freq" line.

    python tools/oracle/rope.py tests/data/rope/frequencies.txt
"""

import contextlib
import sys

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


@contextlib.contextmanager
def double_precision():
    names = {"float": torch.float, "float32": torch.float32}
    to_float = torch.Tensor.float
    for name in names:
        setattr(torch, name, torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        for name, value in names.items():
            setattr(torch, name, value)
        torch.Tensor.float = to_float


def ramp_factors(pairs, first, last):
    return [round(first + (last - first) * i / (pairs - 1), 4) for i in range(pairs)]


def cases():
    """(head_dim, rotated fraction, base, window, length or None, parameters)"""
    for head_dim, base, window in ((128, 10000.0, 4096), (64, 500000.0, 8192), (8, 10000.0, 256)):
        yield head_dim, 1.0, base, window, None, {"rope_type": "default"}
    yield 64, 0.5, 10000.0, 2048, None, {"rope_type": "default"}
    for factor in (2.0, 8.0):
        yield 128, 1.0, 10000.0, 4096, None, {"rope_type": "linear", "factor": factor}
    yield 80, 0.5, 10000.0, 2048, None, {"rope_type": "linear", "factor": 4.0}
    for factor in (1.0, 2.0, 4.0):
        for length in (4095, 4096, 4097, 6144, 16384):
            yield 128, 1.0, 10000.0, 4096, length, {"rope_type": "dynamic", "factor": factor}
    yield 16, 1.0, 10000.0, 256, 2048, {"rope_type": "dynamic", "factor": 2.0}

    def yarn(factor, window, **more):
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": window, **more}

    yield 128, 1.0, 10000.0, 65536, None, yarn(16.0, 4096)
    yield 128, 1.0, 1000000.0, 131072, None, yarn(4.0, 32768)
    yield 64, 1.0, 10000.0, 2048, None, yarn(4.0, 512)
    yield 64, 1.0, 10000.0, 2048, None, yarn(4.0, 512, truncate=False)
    yield 32, 1.0, 10000.0, 1024, None, yarn(4.0, 256)
    yield 16, 1.0, 10000.0, 1024, None, yarn(4.0, 256)
    yield 8, 1.0, 10000.0, 1024, None, yarn(4.0, 256)
    yield 8, 1.0, 10000.0, 64, None, yarn(4.0, 16)
    yield 64, 0.5, 10000.0, 8192, None, yarn(2.0, 4096)
    yield 128, 1.0, 10000.0, 65536, None, yarn(16.0, 4096, attention_factor=1.0)
    yield 128, 1.0, 10000.0, 65536, None, yarn(16.0, 4096, beta_fast=16.0, beta_slow=2.0)
    yield 64, 1.0, 10000.0, 163840, None, yarn(40.0, 4096, mscale=1.0, mscale_all_dim=1.0)
    yield 64, 1.0, 10000.0, 163840, None, yarn(40.0, 4096, mscale=1.0, mscale_all_dim=0.707)
    yield 64, 1.0, 150000.0, 131072, None, yarn(32.0, 4096, truncate=False)
    # Ramps that end beyond the last pair, at the cap of dim - 1, and in one point.
    yield 64, 1.0, 10000.0, 262144, None, yarn(2.0, 131072)
    yield 8, 1.0, 100.0, 2097152, None, yarn(2.0, 1048576)
    yield 32, 1.0, 10000.0, 2048, None, yarn(4.0, 512, beta_fast=4.0, beta_slow=4.0, truncate=False)

    def llama3(factor, window, low=1.0, high=4.0):
        return {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": window,
                "low_freq_factor": low, "high_freq_factor": high}

    yield 128, 1.0, 500000.0, 131072, None, llama3(8.0, 8192)
    yield 64, 1.0, 500000.0, 131072, None, llama3(32.0, 8192)
    yield 32, 1.0, 10000.0, 4096, None, llama3(4.0, 1024, 2.0, 8.0)

    for length in (4096, 4097):
        for more in ({"factor": 32.0}, {"factor": 32.0, "attention_factor": 1.25}, {}):
            yield 96, 1.0, 10000.0, 131072, length, {
                "rope_type": "longrope", "original_max_position_embeddings": 4096,
                "short_factor": ramp_factors(48, 1.0, 2.0), "long_factor": ramp_factors(48, 1.05, 62.0), **more}
    yield 16, 1.0, 10000.0, 512, 400, {
        "rope_type": "longrope", "original_max_position_embeddings": 512, "factor": 1.0,
        "short_factor": ramp_factors(8, 1.0, 1.0), "long_factor": ramp_factors(8, 1.0, 4.0)}


def line(key, values):
    if not isinstance(values, (list, tuple)):
        values = [values]
    return key + " " + " ".join(v if isinstance(v, str) else repr(v) for v in values)


def main(path):
    records = ["# Transformers %s, torch %s, fp64; written by tools/oracle/rope.py"
               % (transformers.__version__, torch.__version__.split("+")[0])]
    for head_dim, fraction, base, window, length, parameters in cases():
        config = LlamaConfig(hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim,
                             max_position_embeddings=window,
                             rope_parameters={"rope_theta": base, "partial_rotary_factor": fraction, **parameters})
        kind = parameters["rope_type"]
        with double_precision():
            if kind == "default":
                dim = int(head_dim * fraction)
                if fraction == 1.0:
                    freq, magnitude = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
                else:  # the default function of this family knows no partial rotation; linear with factor 1 does
                    config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": 1.0}
                    freq, magnitude = ROPE_INIT_FUNCTIONS["linear"](config)
            else:
                freq, magnitude = ROPE_INIT_FUNCTIONS[kind](config, device="cpu", seq_len=length)
        assert freq.dtype == torch.float64 and len(freq) == int(head_dim * fraction) // 2
        records.append(line("kind", kind))
        for key, value in (("dim", int(head_dim * fraction)), ("base", base), ("window", window),
                           ("length", length or 0)):
            records.append(line(key, value))
        for key, value in parameters.items():
            if key != "rope_type":
                records.append(line(key, int(value) if isinstance(value, bool) else value))
        records.append(line("magnitude", float(magnitude)))
        records.append(line("freq", [float(f) for f in freq]))
    with open(path, "w") as file:
        file.write("\n".join(records) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
