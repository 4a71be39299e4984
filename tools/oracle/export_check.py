"""Does Transformers read a folder that furlong wrote, and is it the model it should be? Run by hand.

    python tools/oracle/export_check.py FOLDER [REFERENCE]

FOLDER is loaded with AutoModelForCausalLM; missing, unexpected or misshapen tensors are an error. REFERENCE, a Hugging
Face folder or a llama2.c .bin (version 0), gives the tensors and the logits to compare with: per tensor the largest
difference, then that of the logits of 64 fixed ids in float64. Exit status 1 where a tensor is missing or the rotary
parameters differ; differences are for the reader to judge, since a conversion may change the type.
"""
import pathlib
import sys

import numpy as np
from transformers import AutoModelForCausalLM

from double import double_logits
from llama2c import read_checkpoint


def read(path):
    if path.is_file():
        return read_checkpoint(path)
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype="auto", output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    assert not problems, f"{path}: {problems}"
    return model.config, {name: value.detach() for name, value in model.state_dict().items()}


def main():
    config, state = read(pathlib.Path(sys.argv[1]))
    types = sorted({str(value.dtype) for value in state.values()})
    print(f"{sys.argv[1]}: {config.model_type}, {len(state)} tensors of {', '.join(types)}, rope "
          f"{getattr(config, 'rope_parameters', None)}, window {config.max_position_embeddings}")
    ids = np.random.default_rng(8).integers(0, config.vocab_size, 64).tolist()
    logits = double_logits(config, state, ids)
    print(f"logits of 64 ids: mean {logits.mean():.4f}, spread {logits.std():.4f}")
    if len(sys.argv) < 3:
        return 0
    reference, wanted = read(pathlib.Path(sys.argv[2]))
    bad = sorted(set(state) ^ set(wanted))
    for name in bad:
        print(f"only in {sys.argv[1] if name in state else sys.argv[2]}: {name}")
    worst = ("", 0.0)
    for name in sorted(set(state) & set(wanted)):
        if state[name].shape != wanted[name].shape:
            bad.append(name)
            print(f"{name}: shape {tuple(state[name].shape)}, reference {tuple(wanted[name].shape)}")
            continue
        difference = (state[name].double() - wanted[name].double()).abs().max().item()
        worst = max(worst, (name, difference), key=lambda pair: pair[1])
    print(f"tensors: largest difference {worst[1]:.3g} {worst[0]}")
    for key in ("rope_parameters", "max_position_embeddings", "rms_norm_eps", "bos_token_id", "eos_token_id"):
        ours, theirs = getattr(config, key, None), getattr(reference, key, None)
        if ours != theirs:
            print(f"{key}: {ours}, reference {theirs}")
            if key == "rope_parameters":
                bad.append(key)
    if not bad:
        print(f"logits: largest difference {np.abs(logits - double_logits(reference, wanted, ids)).max():.3g}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
