"""GGUF files of the tiny checkpoints (tests/data/gguf), written by the gguf package with the keys, names and row orders
of llama.cpp's converter, and the golden logits of their rounded weights.

    python tools/oracle/gguf_models.py

llama.gguf is F16, the others Q8_0 (rows that are no multiple of 32 are F16). The golden logits are those of
Transformers in double precision with the weights as the gguf package dequantises them. rope_<kind>.gguf hold the keys
and divisors of one rotary kind each, and only one matrix.
"""
import copy
import math

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoConfig

from double import double_logits
from golden import ROOT, TINY, versions, write_array, write_record
from tiny import LENGTHS, ROPE, SHORT, last_rows, load

OUT = ROOT / "tests/data/gguf"
ARCH = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3",
        "gpt_neox": "gptneox", "gpt2": "gpt2"}
MODELS = {"llama": Type.F16, "llama_tied": Type.Q8_0, "mistral": Type.Q8_0, "qwen2": Type.Q8_0, "qwen3": Type.Q8_0,
          "phi3": Type.Q8_0, "phi3_longrope": Type.Q8_0, "gpt_neox": Type.Q8_0, "gpt_neox_serial": Type.Q8_0,
          "gpt2": Type.Q8_0}


def permute(rows, heads):
    """Half-split rows of each head to interleaved ones (convert_hf_to_gguf.py, LlamaModel.permute)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def by_part(rows, heads):
    """gpt_neox: q, k, v of each head together to all q, all k, all v."""
    return rows.reshape(heads, 3, rows.shape[0] // heads // 3, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)


def undo(function, rows, heads):
    order = function(np.arange(rows.shape[0]), heads)
    out = np.empty_like(rows)
    out[order] = rows
    return out


def movement(config, name):
    """What the converter does to the rows of a tensor, and its inverse: (function, heads) or None."""
    if config.model_type in ("llama", "mistral"):
        if "q_proj" in name:
            return permute, config.num_attention_heads
        if "k_proj" in name:
            return permute, config.num_key_value_heads
    if config.model_type == "gpt_neox" and "query_key_value" in name:
        return by_part, config.num_attention_heads
    return None


def head_dim(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def write_rope(writer, config):
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type == "gpt2":
        return
    part = rope.get("partial_rotary_factor", 1.0)
    dim = int(head_dim(config) * part)
    writer.add_rope_dimension_count(dim)
    base = rope.get("rope_theta", 10000.0)
    if config.model_type != "gpt_neox" or base != 10000.0:
        writer.add_rope_freq_base(base)
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "llama3":
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        window = rope["original_max_position_embeddings"]
        divisors = []
        for freq in 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
            length = 2 * math.pi / freq
            smooth = (window / length - low) / (high - low)
            divisors.append(1 if length < window / high else factor if length > window / low else
                            1 / ((1 - smooth) / factor + smooth))
        writer.add_tensor("rope_freqs.weight", torch.tensor(divisors, dtype=torch.float32).numpy())
    if kind == "longrope":
        window = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / window
        if config.model_type != "phi3":  # the converter of phi3 writes no type
            writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(window)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(window)) if scale > 1 else 1.0)
        writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], dtype=np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], dtype=np.float32))


def write_keys(writer, config, name):
    writer.add_name(name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
    if config.model_type == "gpt_neox":
        writer.add_parallel_residual(config.use_parallel_residual)
        writer.add_layer_norm_eps(config.layer_norm_eps)
    elif config.model_type != "gpt2":
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        if head_dim(config) * config.num_attention_heads != config.hidden_size:
            writer.add_key_length(head_dim(config))
            writer.add_value_length(head_dim(config))
        window = getattr(config, "sliding_window", None)
        if window and (config.model_type != "qwen2" or config.use_sliding_window):
            writer.add_sliding_window(window)
    write_rope(writer, config)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_model(name, wanted):
    config = AutoConfig.from_pretrained(TINY / name)
    if config.model_type == "gpt_neox":
        config.hidden_act = "gelu"  # the format does not say; readers take that of the family's own models
    arch = ARCH[config.model_type]
    state = {key: value.float().numpy() for key, value in load(name).items()}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", arch)
    write_keys(writer, config, name)
    rounded = {}
    for key, value in state.items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        hf = "embed_out.weight" if key == "lm_head.weight" and config.model_type == "gpt_neox" else key
        conv1d = config.model_type == "gpt2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        rows = np.ascontiguousarray(value.T if conv1d else value)
        move = movement(config, key)
        if move:
            rows = move[0](rows, move[1])
        kind = Type.F32 if rows.ndim == 1 or "wpe" in key else wanted
        if kind == Type.Q8_0 and rows.shape[1] % 32:
            kind = Type.F16
        data = gguf.quants.quantize(rows, kind)
        writer.add_tensor(names.get_name(hf, (".weight", ".bias")), data, raw_dtype=kind)
        back = gguf.quants.dequantize(data, kind).reshape(rows.shape)
        if move:
            back = undo(move[0], back, move[1])
        rounded[key] = torch.from_numpy(np.ascontiguousarray(back.T if conv1d else back).astype(np.float32))
    finish(writer)
    if config.tie_word_embeddings:
        rounded["lm_head.weight"] = rounded[
            "transformer.wte.weight" if config.model_type == "gpt2" else "model.embed_tokens.weight"]
    record(name, config, rounded)


def record(name, config, state):
    ids = np.fromfile(ROOT / "tests/data/golden/tiny/ids.i32.bin", dtype="<i4")
    lengths = LENGTHS + ((300,) if config.model_type != "gpt2" else ())
    exact = last_rows(lambda n: double_logits(copy.deepcopy(config), state, ids[:n]), lengths)
    positions = list(range(SHORT)) + [n - 1 for n in lengths]
    file = write_array(OUT / name, exact, "f64")
    write_record(OUT / f"{name}.txt", "gguf_models.py", [
        f"logits {file}", f"rows {len(exact)}", f"vocab {exact.shape[1]}",
        "row_length " + " ".join(str(n) for n in [SHORT] * SHORT + list(lengths)),
        "row_position " + " ".join(str(p) for p in positions)])


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_rope_kind(kind):
    config = AutoConfig.from_pretrained(TINY / f"rope_{kind}.json")
    writer = gguf.GGUFWriter(OUT / f"rope_{kind}.gguf", "llama")
    write_keys(writer, config, kind)
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), dtype=np.float16))
    finish(writer)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for model, wanted in MODELS.items():
        write_model(model, wanted)
    for kind in ROPE:
        if kind != "dynamic":
            write_rope_kind(kind)
    (OUT / "NOTICE").write_text(
        "Made by tools/oracle/gguf_models.py from the random checkpoints of tests/data/tiny; the values mean nothing "
        f"and are in\nthe public domain (CC0). gguf package; {versions()}.\n")
