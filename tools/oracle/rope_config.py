"""Rotary configs as transformers understands them: tests/data/rope_config/cases.json.

Each case is a config.json as its file spells it, with the inverse frequencies and the attention scaling that
LlamaRotaryEmbedding computes from it (in float32) for sequences of some lengths. With `--check FILE` nothing is written:
FILE holds such cases from elsewhere (tests/data/rope_config/written.json), which are computed anew and compared.
"""
import copy
import json
import sys

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from golden import ROOT, versions

OUT = ROOT / "tests/data/rope_config"
SHAPE = {"model_type": "llama", "vocab_size": 320, "hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1,
         "num_attention_heads": 4}
SHORT = [1 + 0.01 * i for i in range(32)]
LONG = [1 + 0.25 * i for i in range(32)]
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"factor": 16, "original_max_position_embeddings": 4096}

CASES = {
    "nothing": {},
    "theta": {"rope_theta": 1000000, "max_position_embeddings": 16384},
    "null scaling": {"rope_theta": 500000.0, "rope_scaling": None},
    "v5 default": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "v5 without type": {"rope_parameters": {"rope_theta": 250000.0}},
    "linear": {"rope_scaling": {"type": "linear", "factor": 8.0}, "max_position_embeddings": 4096},
    "linear rope_type": {"rope_scaling": {"rope_type": "linear", "factor": 2}},
    "v5 linear": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "both dictionaries": {"rope_theta": 20000.0, "rope_scaling": {"type": "linear", "factor": 4.0},
                          "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 20000.0}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 512},
    "v5 dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
                   "max_position_embeddings": 512},
    "llama3": {"rope_theta": 500000.0, "max_position_embeddings": 131072,
               "rope_scaling": {"rope_type": "llama3"} | LLAMA3},
    "v5 llama3": {"max_position_embeddings": 131072,
                  "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0} | LLAMA3},
    "yarn": {"max_position_embeddings": 65536, "rope_scaling": {"type": "yarn", "finetuned": True} | YARN},
    "yarn, window unscaled": {"rope_theta": 1000000.0, "max_position_embeddings": 32768,
                              "rope_scaling": {"type": "yarn", "factor": 4.0,
                                               "original_max_position_embeddings": 32768}},
    "yarn, no original": {"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4.0}},
    "yarn, both names of the type": {"max_position_embeddings": 65536,
                                     "rope_scaling": {"type": "yarn", "rope_type": "yarn"} | YARN},
    "yarn, attention_factor": {"max_position_embeddings": 65536,
                               "rope_scaling": {"rope_type": "yarn", "attention_factor": 0.75} | YARN},
    "yarn, betas": {"max_position_embeddings": 65536,
                    "rope_scaling": {"rope_type": "yarn", "beta_fast": 16.0, "beta_slow": 2.0} | YARN},
    "yarn, mscale": {"max_position_embeddings": 65536,
                     "rope_scaling": {"rope_type": "yarn", "mscale": 0.707, "mscale_all_dim": 1.0} | YARN},
    "yarn, not truncated": {"max_position_embeddings": 65536,
                            "rope_scaling": {"rope_type": "yarn", "truncate": False} | YARN},
    "yarn, nulls": {"max_position_embeddings": 65536,
                    "rope_scaling": {"rope_type": "yarn", "attention_factor": None, "beta_fast": None} | YARN},
    "v5 yarn": {"max_position_embeddings": 65536,
                "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0} | YARN},
    "yarn, factor of the windows": {"max_position_embeddings": 65536,
                                    "rope_scaling": {"rope_type": "yarn", "factor": None,
                                                     "original_max_position_embeddings": 4096}},
    "longrope": {"max_position_embeddings": 32768,
                 "rope_scaling": {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 8.0,
                                  "original_max_position_embeddings": 4096}},
    "longrope, original outside": {"max_position_embeddings": 32768, "original_max_position_embeddings": 4096,
                                   "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}},
    "longrope, attention_factor": {"max_position_embeddings": 32768, "original_max_position_embeddings": 4096,
                                   "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG,
                                                    "attention_factor": 1.5}},
    "su": {"max_position_embeddings": 32768, "original_max_position_embeddings": 4096,
           "rope_scaling": {"type": "su", "short_factor": SHORT, "long_factor": LONG}},
    "partial, linear": {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
    "partial outside, linear": {"partial_rotary_factor": 0.25, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "head_dim": {"head_dim": 32, "rope_theta": 20000.0},
}
KNOWN_AS = {"su": "longrope"}  # transformers dropped the old name


def measure(config, length):
    config = copy.deepcopy(config)
    scaling = config.get("rope_scaling")
    if scaling and scaling.get("type") in KNOWN_AS:
        scaling["type"] = KNOWN_AS[scaling["type"]]
    rotary = LlamaRotaryEmbedding(LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    rotary(torch.zeros(1), torch.tensor([[length - 1]]))
    return {"length": length, "inv_freq": [float(f) for f in rotary.inv_freq.double()],
            "attention_scaling": float(rotary.attention_scaling)}


def check(path):
    worst = 0
    cases = json.loads(open(path).read())["cases"]
    for case in cases:
        for result in case["results"]:
            ours = measure(case["config"], result["length"])
            for a, b in zip(ours["inv_freq"] + [ours["attention_scaling"]],
                            result["inv_freq"] + [result["attention_scaling"]], strict=True):
                error = abs(a - b) / abs(a)
                worst = max(worst, error)
                assert error < 1e-5, f"{case['name']}, length {result['length']}: {b}, transformers has {a}"
    print(f"{len(cases)} configs agree; largest relative difference {worst:.1e} ({versions()})")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
        return
    cases = []
    for name, keys in CASES.items():
        config = SHAPE | keys
        config.setdefault("max_position_embeddings", 2048)
        window = config["max_position_embeddings"]
        lengths = [100] if name.startswith("nothing") else [100, window, 3 * window + 7]
        cases.append({"name": name, "config": config, "results": [measure(config, n) for n in lengths]})
    OUT.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"made_by": f"tools/oracle/rope_config.py; {versions()}"})[:-1]
    (OUT / "cases.json").write_text(head + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
