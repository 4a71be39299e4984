"""Tiny random checkpoints (tests/data/tiny) and their golden logits (tests/data/golden/tiny).

    python tools/oracle/tiny.py            make everything again (the same bytes for the same versions)

families.py makes the folders of the other families beside these.

Every logits record answers for lengths 7, 64, 128 and, where positions are rotary, 300 (beyond the window of 128); the
input of length n is the first n ids of tests/data/golden/tiny/ids.i32.bin. Rows of the .bin: all 7 of the shortest
length, then the last row of each other length. A record is written only where float64 Transformers, float64 NumPy
(llama only) and float32 Transformers agree.
"""
import copy
import json
import shutil

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import plain
from double import double_logits, model_names, single_class, single_logits
from golden import GOLDEN, TINY, versions, write_array, write_record

SHORT, LENGTHS, BEYOND = 7, (64, 128), 300
VOCAB = 320

# kind -> (max_position_embeddings, rope_parameters as Transformers 5 writes them, the same as Transformers 4 wrote it)
SHORT_FACTOR = [1.0, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5]
LONG_FACTOR = [1.0, 1.1, 1.5, 2.2, 3.0, 3.8, 4.4, 5.0]
ROPE = {
    "linear": (128, {"rope_type": "linear", "factor": 4.0}, {"type": "linear", "factor": 4.0}),
    "dynamic": (128, {"rope_type": "dynamic", "factor": 2.0}, {"type": "dynamic", "factor": 2.0}),
    "yarn": (512, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
             {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}),
    "llama3": (1024, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 128},
               {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128}),
    "longrope": (512, {"rope_type": "longrope", "factor": 4.0, "short_factor": SHORT_FACTOR,
                       "long_factor": LONG_FACTOR, "original_max_position_embeddings": 128},
                 {"type": "longrope", "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}),
}


def llama_config(**changes):
    values = dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                  head_dim=16, intermediate_size=176, max_position_embeddings=128, rms_norm_eps=1e-5,
                  tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    return LlamaConfig(**(values | changes))


def fill(model, seed, spread):
    """Normal values, wide enough that attention is far from uniform and logits differ by several units."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            value = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            if weight.dim() == 1:
                value = 0.1 * value if name.endswith("bias") else 1.0 + 0.2 * value
            else:
                value = value * spread(name, weight.shape)
            weight.copy_(value)
    return model


def llama_spread(tied):
    def spread(name, shape):
        if "embed" in name:
            return 0.25 if tied else 1.0
        scale = 1.4 if "q_proj" in name or "k_proj" in name else 2.0 if "lm_head" in name else 0.8
        return scale / shape[1] ** 0.5
    return spread


def gpt2_spread(name, shape):
    if "wte" in name:
        return 0.3  # also the head
    if "wpe" in name:
        return 0.2
    return (1.4 if "c_attn" in name else 0.8) / shape[0] ** 0.5  # Conv1D: [in, out]


def make_models():
    for name in ("llama", "llama_sharded", "llama_bf16", "llama_tied", "gpt2"):
        shutil.rmtree(TINY / name, ignore_errors=True)
    llama = fill(LlamaForCausalLM(llama_config()), 1, llama_spread(False))
    llama.save_pretrained(TINY / "llama")
    llama.save_pretrained(TINY / "llama_sharded", max_shard_size="200KB")
    copy.deepcopy(llama).to(torch.bfloat16).save_pretrained(TINY / "llama_bf16")
    tied = llama_config(tie_word_embeddings=True, num_key_value_heads=1, head_dim=24)
    fill(LlamaForCausalLM(tied), 2, llama_spread(True)).save_pretrained(TINY / "llama_tied")
    gpt2 = GPT2Config(vocab_size=VOCAB, n_embd=48, n_layer=3, n_head=4, n_positions=128, resid_pdrop=0.0,
                      embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2)
    fill(GPT2LMHeadModel(gpt2), 3, gpt2_spread).save_pretrained(TINY / "gpt2")
    plain_config = json.loads((TINY / "llama/config.json").read_text())
    for kind, (window, new, old) in ROPE.items():
        config = plain_config | {"max_position_embeddings": window, "rope_parameters": new | {"rope_theta": 10000.0}}
        (TINY / f"rope_{kind}.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        config = plain_config | {"max_position_embeddings": window, "rope_theta": 10000.0, "rope_scaling": old}
        del config["rope_parameters"]
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.44.0"
        if kind == "longrope":  # where Phi-3 files keep it
            config["original_max_position_embeddings"] = 128
        (TINY / f"rope_{kind}_v4.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for file in TINY.glob("*/generation_config.json"):
        file.unlink()
    for file in TINY.glob("*/*.safetensors"):
        file.chmod(0o644)
    (TINY / "README.md").write_text(
        "# Tiny random checkpoints\n\nMade by tools/oracle/tiny.py with seeds 1 to 3 and saved by Transformers "
        "(`save_pretrained`); the values mean nothing\nand are in the public domain (CC0). `llama_sharded` and "
        "`llama_bf16` hold the weights of `llama`; `rope_<kind>.json` and\n`rope_<kind>_v4.json` are configs to "
        "combine with the "
        "weights of `llama`, spelled as Transformers 5 and 4 write them.\n"
        "The folders of other families, and their configs in version 4's spelling (`<name>_v4.json`), are made by\n"
        "tools/oracle/families.py with seeds from 11 on, alike.\n"
        "`positions_<kind>.json` are configs of other positions for the weights of `llama` (tools/oracle/positions.py);\n"
        "`extend_<method>.json` are what `furlong extend` writes for `llama` fourfold, `longrope_factors.json` one of its "
        "inputs\n(tools/oracle/extended.py).\n"
        f"Golden logits: tests/data/golden/tiny. Versions: {versions()}.\n")


def load(folder):
    state = {}
    for file in sorted((TINY / folder).glob("*.safetensors")):
        state |= load_file(file)
    return model_names(state)


def last_rows(compute, lengths):
    """Rows of a record: all of the shortest length, then the last of each other one."""
    return np.concatenate([compute(SHORT)] + [compute(n)[-1:] for n in lengths])


def record(name, folder, config_file, ids):
    config = AutoConfig.from_pretrained(TINY / config_file)
    state = load(folder)
    if config.tie_word_embeddings:
        source = "transformer.wte.weight" if config.model_type == "gpt2" else "model.embed_tokens.weight"
        state["lm_head.weight"] = state[source]
    rotary = config.model_type != "gpt2"
    lengths = LENGTHS + ((BEYOND,) if rotary else ())
    exact = last_rows(lambda n: double_logits(copy.deepcopy(config), state, ids[:n]), lengths)
    single = last_rows(lambda n: single_logits(single_class(config), copy.deepcopy(config), state, ids[:n]), lengths)
    error = np.abs(single - exact).max(axis=1)
    if config.model_type == "llama" and not config.mlp_bias:
        wide = {key: value.double().numpy() for key, value in state.items()}
        second = last_rows(lambda n: plain.logits(config, wide, ids[:n]), lengths)
        assert np.abs(second - exact).max() < 1e-10, (name, np.abs(second - exact).max())
    assert error.max() < 1e-2, (name, error)
    file = write_array(GOLDEN / "tiny" / name, exact, "f64")
    lines = ["# float64 logits [rows, vocab]; float32_error: largest |difference| of float32 eager Transformers "
             "in each row",
             f"weights tiny/{folder}", f"config tiny/{config_file}", f"vocab {VOCAB}", f"rows {len(exact)}",
             "row_length " + " ".join([str(SHORT)] * SHORT + [str(n) for n in lengths]),
             "row_position " + " ".join([str(i) for i in range(SHORT)] + [str(n - 1) for n in lengths]),
             "float32_error " + " ".join(f"{e:.1e}" for e in error),
             f"logits_std {exact.std():.3f}", f"logits {file}"]
    write_record(GOLDEN / "tiny" / f"{name}.txt", "tiny.py", lines)
    print(f"{name:18} std {exact.std():.2f}  float32 error {error.max():.1e}")
    return exact


def main():
    make_models()
    ids = np.random.default_rng(4).integers(0, VOCAB, BEYOND).tolist()
    write_array(GOLDEN / "tiny/ids", ids, "i32")
    llama = record("llama", "llama", "llama/config.json", ids)
    assert np.array_equal(llama, record("llama_sharded", "llama_sharded", "llama_sharded/config.json", ids))
    (GOLDEN / "tiny/llama_sharded.txt").unlink()  # the same bits: llama.txt serves both
    (GOLDEN / "tiny/llama_sharded.f64.bin").unlink()
    record("llama_bf16", "llama_bf16", "llama_bf16/config.json", ids)
    record("llama_tied", "llama_tied", "llama_tied/config.json", ids)
    record("gpt2", "gpt2", "gpt2/config.json", ids)
    for kind in ROPE:
        new = record(f"rope_{kind}", "llama", f"rope_{kind}.json", ids)
        assert np.array_equal(new, record(f"rope_{kind}_v4", "llama", f"rope_{kind}_v4.json", ids)), kind
        (GOLDEN / f"tiny/rope_{kind}_v4.txt").unlink()  # the same bits: rope_<kind>.txt serves both spellings
        (GOLDEN / f"tiny/rope_{kind}_v4.f64.bin").unlink()
        assert np.abs(new - llama).max() > 0.1, kind  # a scaling that is ignored cannot pass


if __name__ == "__main__":
    main()
