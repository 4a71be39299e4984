"""Tiny random checkpoints of the families beside llama and gpt2, and their golden logits, as tiny.py has them.

    python tools/oracle/families.py        make everything again (the same bytes for the same versions)

Each has something that its family alone does: a window shorter than the tested lengths, biases, norms of queries and
keys, fused products, a partial rotation. <name>_v4.json is the same config as Transformers 4 and its model files spell
it, to combine with the weights of <name>.
"""
import json
import shutil

import numpy as np
from transformers import (GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

from golden import GOLDEN, TINY
from tiny import BEYOND, LONG_FACTOR, SHORT_FACTOR, VOCAB, fill, record

SHARED = dict(vocab_size=VOCAB, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=52, max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
PHI = SHARED | dict(num_attention_heads=3, num_key_value_heads=1, pad_token_id=0, intermediate_size=56)
NEOX = SHARED | dict(num_attention_heads=3, intermediate_size=60,
                     rope_parameters={"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.25})
del NEOX["num_key_value_heads"]
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}

# name -> (config, model, what version 4 spells differently (None: no file))
FAMILIES = {
    "llama_bias": (LlamaConfig(**SHARED, attention_bias=True, mlp_bias=True), LlamaForCausalLM, None),
    "mistral": (MistralConfig(**(SHARED | dict(intermediate_size=36)), sliding_window=24, head_dim=16),
                MistralForCausalLM, {"rope_theta": 10000.0}),
    "qwen2": (Qwen2Config(**SHARED, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), Qwen2ForCausalLM,
              {"rope_theta": 1000000.0, "sliding_window": 131072, "layer_types": None}),
    "qwen2_tied": (Qwen2Config(**SHARED, tie_word_embeddings=True, use_sliding_window=True, sliding_window=40,
                               max_window_layers=0), Qwen2ForCausalLM, None),
    "qwen3": (Qwen3Config(**(SHARED | dict(intermediate_size=32)), head_dim=16), Qwen3ForCausalLM,
              {"rope_theta": 10000.0, "rope_scaling": None}),
    "phi3": (Phi3Config(**PHI, rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                                "partial_rotary_factor": 0.75}), Phi3ForCausalLM,
             {"rope_theta": 10000.0, "rope_scaling": None, "partial_rotary_factor": 0.75}),
    "phi3_longrope": (Phi3Config(**(PHI | dict(max_position_embeddings=512)), original_max_position_embeddings=128,
                                 rope_parameters=LONG, sliding_window=262144), Phi3ForCausalLM,
                      {"rope_theta": 10000.0, "original_max_position_embeddings": 128,
                       "rope_scaling": {"type": "longrope", "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}}),
    "gpt_neox": (GPTNeoXConfig(**NEOX), GPTNeoXForCausalLM, {"rotary_pct": 0.25, "rotary_emb_base": 5000}),
    "gpt_neox_serial": (GPTNeoXConfig(**NEOX, use_parallel_residual=False, hidden_act="gelu_new"), GPTNeoXForCausalLM,
                        None),
}


def spread(tied):
    def of(name, shape):
        if "embed_in" in name or "embed_tokens" in name:
            return 0.3 if tied else 1.0
        query = any(part in name for part in ("q_proj", "k_proj", "qkv_proj", "query_key_value"))
        head = "lm_head" in name or "embed_out" in name
        return (1.4 if query else 2.0 if head else 0.8) / shape[1] ** 0.5
    return of


def make(name, seed, config, model_class, v4):
    shutil.rmtree(TINY / name, ignore_errors=True)
    folder = TINY / name
    fill(model_class(config), seed, spread(config.tie_word_embeddings)).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    size = (folder / "model.safetensors").stat().st_size
    assert size < 250_000, (name, size)
    if v4 is not None:
        old = json.loads((folder / "config.json").read_text()) | v4
        del old["rope_parameters"]
        old = {key: value for key, value in old.items() if key != "layer_types"}
        old["torch_dtype"] = old.pop("dtype")
        old["transformers_version"] = "4.44.0"
        (TINY / f"{name}_v4.json").write_text(json.dumps(old, indent=2, sort_keys=True) + "\n")


def main():
    ids = np.fromfile(GOLDEN / "tiny/ids.i32.bin", "<i4").tolist()
    assert len(ids) == BEYOND
    for seed, (name, (config, model_class, v4)) in enumerate(FAMILIES.items(), 11):
        make(name, seed, config, model_class, v4)
        exact = record(name, name, f"{name}/config.json", ids)
        if v4 is not None:  # the same bits: <name>.txt serves both spellings
            assert np.array_equal(exact, record(f"{name}_v4", name, f"{name}_v4.json", ids)), name
            (GOLDEN / f"tiny/{name}_v4.txt").unlink()
            (GOLDEN / f"tiny/{name}_v4.f64.bin").unlink()
    # The first Phi-3 files say "su", which Transformers 4 read as longrope and 5 refuses.
    text = (TINY / "phi3_longrope_v4.json").read_text()
    (TINY / "phi3_longrope_su.json").write_text(text.replace('"longrope"', '"su"'))


if __name__ == "__main__":
    main()
