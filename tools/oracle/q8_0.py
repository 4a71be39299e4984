"""Golden Q8_0 blocks by the gguf package, whose quantiser gives the bits of ggml's reference.

Writes tests/data/dtype/: input.f32.bin, blocks.u8.bin (34 bytes per 32 values), back.f32.bin. Needs numpy and gguf.
"""
import pathlib
from importlib.metadata import version

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests/data/dtype"

rng = np.random.default_rng(20240521)
blocks = [rng.standard_normal(32) * scale for scale in (1e-8, 1e-6, 1e-3, 0.02, 1.0, 1.0, 1.0, 30.0, 1e4, 1e6)]
blocks += [np.zeros(32), np.full(32, -0.0), np.eye(32)[5], -3 * np.eye(32)[31], np.full(32, 2.5)]
blocks += [np.arange(32) - 16.0, np.linspace(-127, 127, 32), 0.5 + np.arange(32) * 127 / 31.5]
blocks += [np.concatenate([[127.0], np.arange(31) + 0.5]), np.concatenate([[-127.0], -np.arange(31) - 0.5])]  # halves
blocks += list(rng.standard_normal((44, 32)) * np.exp(rng.standard_normal((44, 1))))
values = np.array(blocks, dtype="<f4")

quantised = quantize(values, GGMLQuantizationType.Q8_0)
FOLDER.mkdir(parents=True, exist_ok=True)
values.tofile(FOLDER / "input.f32.bin")
quantised.astype("u1").tofile(FOLDER / "blocks.u8.bin")
dequantize(quantised, GGMLQuantizationType.Q8_0).astype("<f4").tofile(FOLDER / "back.f32.bin")
(FOLDER / "NOTICE").write_text(
    f"Made by tools/oracle/q8_0.py with gguf {version('gguf')}, numpy {np.__version__}. Part of furlong, Apache-2.0.\n"
)
