"""Golden blocks of every quantised type by the gguf package, which gives the bits of ggml's reference.

Writes tests/data/quant/:
  <type>.blocks   blocks with chosen scales (denormal, negative zero, largest) and random rest
  <type>.values   those blocks as fp32
  <type>.sums     FNV-1a (32 bits) of the fp32 values of each block of a sweep that the test makes by `sweep` below
  input.f32       values to quantise
  <type>.written  those values as blocks, for the types that are written
Needs numpy and gguf.
"""
import pathlib
from importlib.metadata import version

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests/data/quant"
HALVES = {  # offsets of the fp16 numbers of a block
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
WRITTEN = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
SCALES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x2E66, 0xA123, 0x7BFF, 0xFBFF]
SWEEP = 512


def chosen(rng, size, halves):
    blocks = rng.integers(0, 256, (len(SCALES) + 3, size), dtype=np.uint8)
    for i, block in enumerate(blocks):
        for n, offset in enumerate(halves):  # every scale, beside another one as the minimum
            half = SCALES[(i + 5 * n) % len(SCALES)]
            block[offset : offset + 2] = half & 255, half >> 8
    blocks[-3, [k for k in range(size) if k not in {h + b for h in halves for b in (0, 1)}]] = 0
    blocks[-2, [k for k in range(size) if k not in {h + b for h in halves for b in (0, 1)}]] = 255
    return blocks


def sweep(size, halves):
    """Each byte of a block takes all 256 values in blocks 0..255; blocks 256..511 are a linear congruential sequence."""
    k, i = np.arange(size, dtype=np.uint32), np.arange(256, dtype=np.uint32)[:, None]
    ramps = (i + 37 * k) & 255
    mixed, state = np.empty((256, size), np.uint32), 12345
    for n in range(256 * size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        mixed.flat[n] = state >> 24
    blocks = np.concatenate([ramps, mixed]).astype(np.uint8)
    for offset in halves:
        blocks[:, offset + 1] &= 0xBF  # an exponent below the middle: neither infinity nor NaN
    return blocks


def fnv(row):
    h = np.full(row.shape[0], 0x811C9DC5, np.uint64)
    for column in row.view(np.uint8).reshape(row.shape[0], -1).T:
        h = ((h ^ column) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
    return h.astype("<u4")


def inputs(rng):
    rows = [rng.standard_normal(32) * s for s in (1e-8, 1e-6, 1e-3, 0.02, 1.0, 1.0, 1.0, 30.0, 1e4, 3e5)]
    rows += [np.zeros(32), np.eye(32)[5], -3 * np.eye(32)[31], np.full(32, 2.5), np.full(32, -0.75)]
    rows += [np.arange(32) - 16.0, np.linspace(-8, 7, 32), np.linspace(0, 15, 32), np.linspace(-16, 15, 32)]
    rows += [np.linspace(1, 32, 32), np.concatenate([[127.0], np.arange(31) + 0.5])]
    rows += [np.concatenate([[-127.0], -np.arange(31) - 0.5]), np.tile([1.0, -1.0], 16), np.tile([-1.0, 1.0], 16)]
    below = np.nextafter(np.arange(16, dtype="f4") + np.float32(0.5), np.float32(0))  # the floats below halves
    rows += [np.concatenate([[127.0], below[:15], -below])]
    rows += [np.tile(np.arange(8) - 3.5, 4), np.concatenate([np.full(31, 1e-5), [6e4]])]
    rows += list(rng.standard_normal((30, 32)) * np.exp(rng.standard_normal((30, 1))) * 0.05)
    rows += list(rng.standard_normal((8, 32)) + 5)  # an offset that Q4_1 and Q5_1 store
    return np.array(rows, dtype="<f4")


FOLDER.mkdir(parents=True, exist_ok=True)
values = inputs(np.random.default_rng(20240522))
values.tofile(FOLDER / "input.f32")
for name, halves in HALVES.items():
    kind = GGMLQuantizationType[name]
    size = GGML_QUANT_SIZES[kind][1]
    blocks = chosen(np.random.default_rng(int(kind)), size, halves)
    result = dequantize(blocks, kind)
    assert np.isfinite(result).all()
    blocks.tofile(FOLDER / f"{name}.blocks")
    result.astype("<f4").tofile(FOLDER / f"{name}.values")
    result = dequantize(sweep(size, halves), kind)
    assert np.isfinite(result).all() and len(result) == SWEEP
    fnv(np.ascontiguousarray(result.astype("<f4"))).tofile(FOLDER / f"{name}.sums")
    if name in WRITTEN:
        quantize(values, kind).astype("u1").tofile(FOLDER / f"{name}.written")
(FOLDER / "NOTICE").write_text(
    f"Made by tools/oracle/quant.py with gguf {version('gguf')}, numpy {np.__version__}. Part of furlong, Apache-2.0.\n"
)
