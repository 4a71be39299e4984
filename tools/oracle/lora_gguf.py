"""The adapters of tests/data/lora as GGUF files, tests/data/lora/NAME.gguf, written by the gguf package with the keys,
names and row orders of llama.cpp's convert_lora_to_gguf.py.

    python tools/oracle/lora_gguf.py

lora_a is A [r, in], lora_b is B [out, r] with the rows that the converter gives the weight; a reader adds alpha / r
times B A, so that alpha / sqrt(r) of use_rslora becomes an alpha of its own. All values stay float32: the sums are
those of the PEFT files.
"""
import json

import gguf
import numpy as np
from safetensors.numpy import load_file

from gguf_models import ARCH, finish, movement
from lora import ADAPTERS, FOLDER, checkpoint

PREFIX = "base_model.model."


def convert(name, base):
    config, _ = checkpoint(base)
    keys = json.loads((FOLDER / name / "adapter_config.json").read_text())
    arch = ARCH[config.model_type]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", arch)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = keys["lora_alpha"] * (keys["r"] ** 0.5 if keys["use_rslora"] else 1)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for key, value in load_file(FOLDER / name / "adapter_model.safetensors").items():
        part, side = key.removeprefix(PREFIX).removesuffix(".weight").split(".lora_")
        move = movement(config, part)
        if side == "B" and move:
            value = move[0](value, move[1])
        writer.add_tensor(names.get_name(part + ".weight", (".weight",)) + ".lora_" + side.lower(),
                          np.ascontiguousarray(value))
    finish(writer)


if __name__ == "__main__":
    for adapter, (base, *_) in ADAPTERS.items():
        convert(adapter, base)
