"""Files written by the safetensors package, with their content as text: tests/data/safetensors.

`--check FILE` reads a file that furlong wrote with the same content as types.safetensors and compares.
"""
import pathlib
import sys

import numpy as np
import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from golden import ROOT

OUT = ROOT / "tests/data/safetensors"
KINDS = {"F64": torch.float64, "I64": torch.int64, "F32": torch.float32, "I32": torch.int32, "F16": torch.float16,
         "BF16": torch.bfloat16, "U8": torch.uint8, "BOOL": torch.bool}
METADATA = {"format": "pt", "made by": "tools/oracle/safetensors_files.py", "text": "ø \"quoted\" \\ \n 終"}


def tensors():
    """Every type the reader knows, with values every type holds exactly; then shapes of all ranks."""
    values = torch.tensor([[0, 1, 2], [3, 5, 127]], dtype=torch.float64)
    result = {f"type.{name}": values.to(kind) for name, kind in KINDS.items()}
    result["shape.scalar"] = torch.tensor(2.5)
    result["shape.empty"] = torch.zeros(0, 4)
    result["shape.four"] = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)
    result["näme with spaces / and \"quotes\""] = torch.tensor([7, 8], dtype=torch.int32)
    return result


def check(path):
    wanted = tensors()
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(wanted), set(file.keys()) ^ set(wanted)
        assert file.metadata() == METADATA, file.metadata()
        for name, value in wanted.items():
            read = file.get_tensor(name)
            assert read.dtype == value.dtype and torch.equal(read, value), name
    header = int.from_bytes(pathlib.Path(path).read_bytes()[:8], "little")
    assert (header + 8) % 8 == 0, header
    print(f"{len(wanted)} tensors agree (safetensors {safetensors.__version__})")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
        return
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(tensors(), OUT / "types.safetensors", METADATA)
    (OUT / "NOTICE").write_text(
        "types.safetensors: written by tools/oracle/safetensors_files.py with the safetensors package "
        f"{safetensors.__version__},\nnumpy {np.__version__}. CC0.\n")


if __name__ == "__main__":
    main()
