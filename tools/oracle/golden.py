"""Where golden data lies and how its files are written.

A golden record is a text file of lines "key value..." ('#' starts a comment; the first comment names the versions) and,
where numbers are many, .bin files beside it: raw little-endian arrays without a header, C order, the type in the name
(.f64.bin, .f32.bin, .i32.bin).
"""
import json
import pathlib
import platform

import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/data/tiny"
GOLDEN = ROOT / "tests/data/golden"
TEXT = ROOT / "tests/data/text"


def versions():
    return (f"python {platform.python_version()}, torch {torch.__version__.split('+')[0]}, "
            f"transformers {transformers.__version__}, numpy {np.__version__}")


def write_array(path, values, kind):
    """kind: f64, f32 or i32; it is put into the file name. Returns the name."""
    path = path.with_name(f"{path.name}.{kind}.bin")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.ascontiguousarray(values, dtype={"f64": "<f8", "f32": "<f4", "i32": "<i4"}[kind]).tofile(path)
    return path.name


def write_record(path, script, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"# tools/oracle/{script}; {versions()}"]
    path.write_text("\n".join(head + lines) + "\n")


def write_json(path, script, head, key, items):
    """{"made_by", ...head, key: [items]} with one item per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"made_by": f"tools/oracle/{script}; {versions()}"} | head)[:-1]
    path.write_text(f'{head}, "{key}": [\n' + ",\n".join(json.dumps(item) for item in items) + "\n]}\n")
