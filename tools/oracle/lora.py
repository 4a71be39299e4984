"""Low-rank adapters for the tiny checkpoints and their golden logits: tests/data/lora, tests/data/golden/lora.

    python tools/oracle/lora.py

The folders hold what PEFT writes: adapter_config.json and pairs base_model.model.NAME.lora_A.weight [r, in] and
.lora_B.weight [out, r]. The merged weights are formed here, W + s B A in float64 with s = lora_alpha / r, or
lora_alpha / sqrt(r) with use_rslora (transposed where fan_in_fan_out is set), and the logits are those of the merged
model in float64 Transformers (PEFT 0.21 on float32 models agrees to 1e-5): rows [last of 7 ids, last
of 64 ids] of tests/data/golden/tiny/ids.i32.bin.
"""
import copy
import json

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from double import double_logits, file_name
from golden import GOLDEN, ROOT, TINY, versions, write_array
from llama2c import locate, read_checkpoint
from tiny import load

FOLDER = ROOT / "tests/data/lora"
MLP = ("gate_proj", "up_proj", "down_proj")

# name -> (checkpoint, modules, r, lora_alpha, further keys)
ADAPTERS = {
    "llama": ("llama", ("q_proj", "k_proj", "v_proj", "o_proj") + MLP, 4, 8, {}),
    "gpt2": ("gpt2", ("c_attn", "attn.c_proj"), 3, 6, {"fan_in_fan_out": True}),
    "phi3": ("phi3", ("qkv_proj", "gate_up_proj"), 4, 4, {"use_rslora": True}),
    "gpt_neox": ("gpt_neox", ("query_key_value",), 2, 3, {"rank_pattern": {"layers.1.*": 5}}),
    "stories260K": ("stories260K", ("q_proj", "k_proj"), 4, 8, {}),
}


def checkpoint(name):
    if name == "stories260K":
        return read_checkpoint(locate(name)[0])
    config = AutoConfig.from_pretrained(TINY / name)
    state = load(name)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["transformer.wte.weight"]
    return config, state


def make(name, base, modules, rank, alpha, keys, seed):
    config, state = checkpoint(base)
    generator = torch.Generator().manual_seed(seed)
    pairs, merged = {}, {key: value.double() for key, value in state.items()}
    for key in sorted(state):
        if not key.endswith(tuple(f"{module}.weight" for module in modules)):
            continue
        r = keys["rank_pattern"]["layers.1.*"] if "rank_pattern" in keys and "layers.1." in key else rank
        turned = keys.get("fan_in_fan_out", False)
        out, into = state[key].shape[::-1] if turned else state[key].shape
        a = torch.randn((r, into), generator=generator) / into ** 0.5
        b = 0.3 * torch.randn((out, r), generator=generator)
        part = "base_model.model." + file_name(config, key).removesuffix(".weight")
        pairs |= {f"{part}.lora_A.weight": a, f"{part}.lora_B.weight": b}
        scale = alpha / (r ** 0.5 if keys.get("use_rslora") else r)
        delta = scale * b.double() @ a.double()
        merged[key] = merged[key] + (delta.T if turned else delta)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(pairs, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").chmod(0o644)
    text = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank,
            "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "target_modules": list(modules),
            "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "modules_to_save": None,
            "rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False, "use_dora": False, "layers_pattern": None,
            "layers_to_transform": None, "loftq_config": {}, "megatron_config": None} | keys
    (folder / "adapter_config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    ids = np.fromfile(GOLDEN / "tiny/ids.i32.bin", "<i4").tolist()
    rows = [double_logits(copy.deepcopy(config), merged, ids[:n])[-1] for n in (7, 64)]
    before = [double_logits(copy.deepcopy(config), state, ids[:n])[-1] for n in (7, 64)]
    change = np.abs(np.array(rows) - np.array(before)).max(axis=1)
    assert change.min() > 0.1, (name, change)  # an adapter that is ignored cannot pass
    write_array(GOLDEN / "lora" / name, rows, "f64")
    print(f"{name:12} {len(pairs) // 2} pairs, logits changed by {change}")


def main():
    for seed, (name, adapter) in enumerate(ADAPTERS.items(), 31):
        make(name, *adapter, seed)
    (FOLDER / "README.md").write_text(
        "# Low-rank adapters\n\nMade by tools/oracle/lora.py in the form of PEFT's files; the values are random and in "
        f"the public domain\n(CC0). Golden logits: tests/data/golden/lora. Versions: {versions()}.\n"
        "NAME.gguf: the same adapters by tools/oracle/lora_gguf.py.\n")


if __name__ == "__main__":
    main()
