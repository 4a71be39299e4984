"""Read a GGUF file with the gguf package and compare its tensors with the Hugging Face folder it was written from.

    python tools/oracle/gguf_check.py FILE.gguf FOLDER

Equal means: the values are those that the gguf package itself makes of the folder's, in the file's types and row
orders.
"""
import pathlib
import sys

import gguf
import numpy as np
from safetensors.torch import load_file
from transformers import AutoConfig

from double import model_names
from gguf_models import ARCH, movement


def main(file, folder):
    config = AutoConfig.from_pretrained(folder)
    reader = gguf.GGUFReader(file)
    arch = reader.fields["general.architecture"].contents()
    assert arch == ARCH[config.model_type], arch
    found = {tensor.name: tensor for tensor in reader.tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    state = {}
    for part in sorted(pathlib.Path(folder).glob("*.safetensors")):
        state |= load_file(part)
    for key, value in model_names(state).items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        hf = "embed_out.weight" if key == "lm_head.weight" and config.model_type == "gpt_neox" else key
        rows = value.float().numpy()
        if config.model_type == "gpt2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            rows = np.ascontiguousarray(rows.T)
        move = movement(config, key)
        if move:
            rows = move[0](rows, move[1])
        tensor = found.pop(names.get_name(hf, (".weight", ".bias")))
        assert list(tensor.shape) == list(reversed(rows.shape)), tensor.name
        wanted = gguf.quants.quantize(np.ascontiguousarray(rows), tensor.tensor_type)
        assert wanted.tobytes() == tensor.data.tobytes(), tensor.name
    assert all(name.startswith("rope_f") for name in found), sorted(found)
    print(f"{file}: {len(reader.tensors)} tensors and {len(reader.fields)} fields as they should be")


if __name__ == "__main__":
    main(*sys.argv[1:])
