"""Readers of llama2.c files: the legacy checkpoint (version 0), its tokenizer.bin, and the text encoding of run.c.

Written from the layout that llama2.c's export.py and run.c define. Rotary pairs in these files are interleaved
(2i, 2i+1); Hugging Face rotates halves (i, i + d/2), so rows of q and k move.
"""
import heapq
import struct

import numpy as np
import torch
from transformers import LlamaConfig

from golden import ROOT

BOS, EOS = 1, 2


def locate(name):
    """(checkpoint, tokenizer) paths of a bundled model."""
    for file in [ROOT / f"models/{name}/{name}.bin"] + sorted((ROOT / "tests/data/models").rglob(f"{name}.bin")):
        if file.exists():
            return file, next(path for path in sorted(file.parent.glob("tok*.bin")))
    raise FileNotFoundError(f"{name}.bin: neither in models/{name} nor below tests/data/models")


def _half_split(weight, heads):
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).transpose(0, 2, 1, 3).reshape(rows, width)


def read_checkpoint(path):
    """(LlamaConfig, state dict of float32 tensors under Hugging Face names)."""
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, window = struct.unpack_from("<7i", data)
    tied, vocab = vocab > 0, abs(vocab)
    head_dim = dim // heads
    numbers = np.frombuffer(data, "<f4", offset=28)
    at = 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return numbers[at - count:at].reshape(shape)

    embedding = take(vocab, dim)
    stacks = [(name, take(layers, *shape)) for name, shape in (
        ("input_layernorm", (dim,)), ("self_attn.q_proj", (heads * head_dim, dim)),
        ("self_attn.k_proj", (kv_heads * head_dim, dim)), ("self_attn.v_proj", (kv_heads * head_dim, dim)),
        ("self_attn.o_proj", (dim, heads * head_dim)), ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)), ("mlp.up_proj", (hidden, dim)))]
    norm = take(dim)
    cos = take(window, head_dim // 2)  # run.c skips these two tables; they confirm the base
    sin = take(window, head_dim // 2)
    head = embedding if tied else take(vocab, dim)
    assert at == len(numbers), f"{path}: {len(numbers) - at} numbers left over"
    angle = np.outer(np.arange(window), 10000.0 ** (-2.0 * np.arange(head_dim // 2) / head_dim))
    assert max(np.abs(np.cos(angle) - cos).max(), np.abs(np.sin(angle) - sin).max()) < 1e-3, f"{path}: not base 10000"

    state = {"model.embed_tokens.weight": embedding, "model.norm.weight": norm, "lm_head.weight": head}
    for name, stack in stacks:
        for layer in range(layers):
            weight = stack[layer]
            if "q_proj" in name or "k_proj" in name:
                weight = _half_split(weight, heads if "q_proj" in name else kv_heads)
            state[f"model.layers.{layer}.{name}.weight"] = weight
    config = LlamaConfig(vocab_size=vocab, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
                         num_key_value_heads=kv_heads, head_dim=head_dim, intermediate_size=hidden,
                         max_position_embeddings=window, rms_norm_eps=1e-5, tie_word_embeddings=tied,
                         bos_token_id=BOS, eos_token_id=EOS)
    return config, {name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()}


class Tokenizer:
    def __init__(self, path, vocab):
        data = path.read_bytes()
        at = 4  # int32: longest piece
        self.pieces, self.scores = [], []
        for _ in range(vocab):
            score, length = struct.unpack_from("<fi", data, at)
            self.pieces.append(data[at + 8:at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        assert at == len(data), f"{path}: {len(data) - at} bytes left over"
        self.ids = {}
        for i, piece in enumerate(self.pieces):
            self.ids.setdefault(piece, i)

    def encode(self, text, bos=True):
        """The ids of run.c's encode(): a space before the text, whole characters or bytes, then the adjacent pair whose
        union scores highest (the leftmost of equals) is merged until none is a piece. A heap makes it n log n."""
        ids = [BOS] if bos else []
        if not text:
            return ids
        start = [self.ids[b" "]]
        for character in text:
            raw = character.encode("utf-8")
            start += [self.ids[raw]] if raw in self.ids else [byte + 3 for byte in raw]
        after, before = list(range(1, len(start) + 1)), list(range(-1, len(start) - 1))
        heap = []

        def offer(left):
            right = after[left] if left >= 0 else len(start)
            if right < len(start):
                union = self.ids.get(self.pieces[start[left]] + self.pieces[start[right]])
                if union is not None:
                    heapq.heappush(heap, (-self.scores[union], left, start[left], start[right], union))

        for i in range(len(start)):
            offer(i)
        while heap:
            _, left, a, b, union = heapq.heappop(heap)
            right = after[left]
            if start[left] != a or right >= len(start) or start[right] != b:
                continue  # one side was merged meanwhile
            start[left], start[right] = union, None
            after[left] = after[right]
            if after[right] < len(start):
                before[after[right]] = left
            offer(before[left])
            offer(left)
        return ids + [i for i in start if i is not None]

    def encode_slowly(self, text):
        """run.c line by line: quadratic, for checking encode()."""
        ids = [self.ids[b" "]]
        for character in text:
            raw = character.encode("utf-8")
            ids += [self.ids[raw]] if raw in self.ids else [byte + 3 for byte in raw]
        while True:
            best_score, best_id, best_at = -1e10, -1, -1
            for i in range(len(ids) - 1):
                union = self.ids.get(self.pieces[ids[i]] + self.pieces[ids[i + 1]], -1)
                if union >= 0 and self.scores[union] > best_score:
                    best_score, best_id, best_at = self.scores[union], union, i
            if best_at < 0:
                return [BOS] + ids
            ids[best_at:best_at + 2] = [best_id]

    def decode(self, ids):
        """The text run.c prints for ids that follow a BOS; BOS and EOS themselves print nothing here."""
        out = b""
        previous = BOS
        for i in ids:
            piece = self.pieces[i]
            if previous == BOS and piece.startswith(b" "):
                piece = piece[1:]
            if len(piece) == 6 and piece.startswith(b"<0x"):
                piece = bytes([int(piece[3:5], 16)])
            if i > EOS:
                out += piece
            previous = i
        return out.decode("utf-8", errors="replace")
