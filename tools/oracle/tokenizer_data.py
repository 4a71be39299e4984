"""Make the tokenizer files under tests/data/tokenizers.

    python tokenizer_data.py DATA --gpt2 ENCODER_JSON VOCAB_BPE --neox 20B_TOKENIZER_JSON --mistral TOKENIZER_MODEL_V1
                                  --sentencepiece TEST_MODEL_MODEL --corpus BOTCHAN_TXT

The four published files are copied (GPT-2's two tables are joined into one tokenizer.json). The small ones are trained
here, each to exercise what the published ones do not have.
"""
import argparse
import io
import json
import pathlib
import shutil

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# Has no scanner of its own: the pattern of o200k, with letter cases and contractions behind the word.
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# A small character map: widths, ligatures, a decomposed letter, deletions, spaces.
RULES = ([(chr(0xFF21 + i), chr(0x41 + i)) for i in range(26)] + [(chr(0xFF10 + i), chr(0x30 + i)) for i in range(10)] +
         [("A\u030a", "\u00c5"), ("e\u0301", "\u00e9"), ("\ufb01", "fi"), ("\u2122", "TM"), ("\u3000", " "), ("\u00a0", " "), ("\t", " "),
          ("\n", " "), ("\u00ad", ""), ("\u200b", ""), ("\u2026", "..."), ("\u00bd", "1/2"), ("\ufdfa", "x y z")])


def spm(out, corpus, **options):
    """Train a SentencePiece model; options with rules=True use RULES."""
    if options.pop("rules", False):
        tsv = out.with_suffix(".tsv")
        tsv.write_text("".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in RULES))
        options["normalization_rule_tsv"] = str(tsv)
    else:
        options.setdefault("normalization_rule_name", "identity")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, num_threads=1,
                                             minloglevel=2, **options)
    out.with_suffix(".tsv").unlink(missing_ok=True)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return proto


def without_corpus(proto):
    """Drop the training state that encoding does not need."""
    proto.trainer_spec.input.clear()
    return proto.SerializeToString()


def sentencepiece_models(data, corpus):
    users = ["[USER_A]", "[USER_B]", "New York", "user@"]
    proto = spm(data / "unigram_user.model", corpus, model_type="unigram", vocab_size=700, byte_fallback=True,
                user_defined_symbols=users, control_symbols=["[CTL]"], remove_extra_whitespaces=False)
    (data / "unigram_user.model").write_bytes(without_corpus(proto))
    proto = spm(data / "unigram_suffix.model", corpus, model_type="unigram", vocab_size=500, treat_whitespace_as_suffix=True,
                rules=True, unk_surface="<?>")
    (data / "unigram_suffix.model").write_bytes(without_corpus(proto))
    proto = spm(data / "bpe_user.model", corpus, model_type="bpe", vocab_size=600, user_defined_symbols=users, rules=True,
                remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
    (data / "bpe_user.model").write_bytes(without_corpus(proto))
    # Pieces may be marked unused: they are merged on the way, but taken apart again at the end.
    for piece in proto.pieces:
        if piece.type == piece.NORMAL and len(piece.piece) in (2, 4) and hash_of(piece.piece) % 3 == 0:
            piece.type = piece.UNUSED
    (data / "bpe_unused.model").write_bytes(without_corpus(proto))
    proto = spm(data / "bpe_plain.model", corpus, model_type="bpe", vocab_size=700, byte_fallback=True, add_dummy_prefix=False,
                bos_id=-1)
    (data / "bpe_plain.model").write_bytes(without_corpus(proto))
    proto = spm(data / "bpe_small.model", corpus, model_type="bpe", vocab_size=1000, byte_fallback=True, split_digits=True,
                remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
    return proto


def hash_of(text):
    value = 7
    for c in text.encode():
        value = (value * 31 + c) % 1000003
    return value


def converted(proto):
    """Vocabulary and merges of a SentencePiece BPE model, as transformers converts them."""
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    score = {p.piece: p.score for p in proto.pieces}
    merges = []
    for piece, s in score.items():
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += [(a, b, s) for a, b in sorted(local, key=lambda x: (vocab[x[0]], vocab[x[1]]))]
    merges.sort(key=lambda x: -x[2])
    return vocab, [(a, b) for a, b, _ in merges]


def llama_like(data, proto):
    """Llama-2's two shapes: Prepend and Replace normalizers, or Metaspace."""
    vocab, merges = converted(proto)
    for name in ("llama_prepend", "llama_metaspace"):
        t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        special = [AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")]
        if name == "llama_prepend":
            t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
        t.add_special_tokens(special)
        t.add_tokens([AddedToken("foo bar", normalized=True), AddedToken("<mask>", lstrip=True, normalized=False)])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
        t.save(str(data / f"{name}.json"), pretty=False)


def byte_level(corpus, vocab_size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                                      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def byte_level_tokenizers(data, corpus):
    vocab, merges = byte_level(corpus, 900)

    def make(name, pre_tokenizer, normalizer=None, ignore_merges=False, added=(), template=None):
        t = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
        t.pre_tokenizer = pre_tokenizer
        if normalizer:
            t.normalizer = normalizer
        t.decoder = decoders.ByteLevel()
        for token in added:
            (t.add_special_tokens if token.special else t.add_tokens)([token])
        if template:
            t.post_processor = template(t)
        t.save(str(data / f"{name}.json"), pretty=False)

    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern, behavior="isolated", invert=False):
        return pre_tokenizers.Split(Regex(pattern), behavior, invert)

    make("bytes_llama3", pre_tokenizers.Sequence([split(LLAMA3), level]), ignore_merges=True,
         added=[AddedToken("<|begin_of_text|>", special=True), AddedToken("<|end_of_text|>", special=True)],
         template=lambda t: processors.Sequence([
             processors.ByteLevel(trim_offsets=False),
             processors.TemplateProcessing(single="<|begin_of_text|> $A <|end_of_text|>", pair="$A $B",
                                           special_tokens=[(s, t.token_to_id(s)) for s in ("<|begin_of_text|>", "<|end_of_text|>")])]))
    make("bytes_qwen2", pre_tokenizers.Sequence([split(QWEN2), level]), normalizer=normalizers.NFC(),
         added=[AddedToken("<|endoftext|>", special=True), AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True),
                AddedToken("<L>", lstrip=True, normalized=False), AddedToken("<R>", rstrip=True, normalized=False),
                AddedToken("[WORD]", single_word=True, normalized=False), AddedToken("<mask>", lstrip=True, rstrip=True, special=True),
                AddedToken("\u00e9<N>", normalized=True), AddedToken("foo bar", single_word=True), AddedToken("   ", normalized=True)])
    make("bytes_o200k", pre_tokenizers.Sequence([split(O200K), level]), normalizer=normalizers.NFKC())
    make("bytes_falcon", pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                                                  pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")]))
    make("bytes_starcoder", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=True)]))
    make("bytes_behaviors", pre_tokenizers.Sequence([split(r"\n", "merged_with_previous"), split(r" ", "merged_with_next"),
                                                     split(r"[a-m]", "contiguous"), pre_tokenizers.Split("x", "isolated"),
                                                     split(r"\w+|[^\w\s]+|\s", "removed", True), level]),
         normalizer=normalizers.Sequence([normalizers.Strip(True, True), normalizers.Replace(Regex(" {2,}"), " "),
                                          normalizers.NFKD(), normalizers.Replace("ab", "BA")]))


def unigram(data, corpus, published):
    """Unigram with SentencePiece's own character map, in the shape of T5 and XLM-R."""
    proto = spm(data / "unigram.model", corpus, model_type="unigram", vocab_size=800, rules=True)
    vocab = [(p.piece, p.score) for p in proto.pieces]
    t = Tokenizer(models.Unigram(vocab, unk_id=0))
    charsmap = sentencepiece_model_pb2.ModelProto.FromString(published.read_bytes()).normalizer_spec.precompiled_charsmap
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(False, True),
                                         normalizers.Replace(Regex(" {2,}"), "▁")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    t.add_special_tokens([AddedToken(s, special=True) for s in ("<unk>", "<s>", "</s>", "<pad>")])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    t.save(str(data / "unigram.json"), pretty=False)
    # Byte fallback, words cut at white space, no decoder.
    vocab += [(f"<0x{b:02X}>", -20.0) for b in range(256)]
    t = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")])
    t.save(str(data / "unigram_bytes.json"), pretty=False)


def unknown_characters(data, corpus):
    """Character BPE with an unknown token, not fused, and a normalised special token as early Llama files have it."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False, limit_alphabet=50, special_tokens=["<unk>"]))
    model = json.loads(t.to_str())["model"]
    t = Tokenizer(models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=False))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="never")
    t.add_special_tokens([AddedToken("<unk>", special=True, normalized=True), AddedToken("<s>", special=True, normalized=True)])
    t.save(str(data / "unknown.json"), pretty=False)


def gpt2(data, encoder, merges):
    t = Tokenizer(models.BPE.from_file(str(encoder), str(merges)))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    t.save(str(data / "gpt2.json"), pretty=False)
    # Merges as strings, the older spelling, half the size.
    root = json.loads((data / "gpt2.json").read_text())
    root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
    (data / "gpt2.json").write_text(json.dumps(root, ensure_ascii=False, separators=(",", ":")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--gpt2", nargs=2, type=pathlib.Path, required=True)
    for name in ("neox", "mistral", "sentencepiece", "corpus"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    a = parser.parse_args()
    a.data.mkdir(parents=True, exist_ok=True)
    corpus = [line.strip() for line in a.corpus.read_text().splitlines() if line.strip()]
    shutil.copyfile(a.mistral, a.data / "mistral.model")
    shutil.copyfile(a.sentencepiece, a.data / "sentencepiece.model")
    neox = json.loads(a.neox.read_text())
    (a.data / "neox.json").write_text(json.dumps(neox, ensure_ascii=False, separators=(",", ":")))
    gpt2(a.data, *a.gpt2)
    proto = sentencepiece_models(a.data, corpus)
    llama_like(a.data, proto)
    byte_level_tokenizers(a.data, corpus)
    unigram(a.data, corpus, a.sentencepiece)
    unknown_characters(a.data, corpus)


if __name__ == "__main__":
    main()
