"""Perplexity of stories260K by every protocol of docs/evaluation.md, in float64: tests/data/golden/perplexity/*.json.

    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 python tools/oracle/perplexity.py book     (or: sample)

A few minutes on two quiet cores for the book, one for the sample (the malloc settings halve it). One file per text, one
result per line: nll_sum is the sum of -ln p over the scored tokens, nll its mean, stderr the standard error of that
mean; "rope" is "none" or "linear" with "factor". Position results carry bucket_tokens and bucket_nll_sum, matched ones
the block starts (indices into the stream, BOS = 0) and block_nll_sum.
"""
import copy
import math
import sys

import numpy as np
import torch

from double import default_double, double_model
from golden import GOLDEN, ROOT, TEXT, write_json
from llama2c import BOS, Tokenizer, locate, read_checkpoint

BUCKETS, SCORE, BLOCKS = 16, 64, 24


class Scorer:
    def __init__(self, config, state, factor):
        config = copy.deepcopy(config)
        if factor > 1:
            config.rope_parameters = {"rope_type": "linear", "factor": float(factor), "rope_theta": 10000.0}
        self.model = double_model(config, state)

    def nll(self, rows):
        """rows: windows of equal length. [rows, length - 1]: -ln p of all tokens but the first, given those before."""
        out = []
        step = max(1, 2048 // len(rows[0]))
        for i in range(0, len(rows), step):
            ids = torch.tensor(rows[i:i + step])
            with torch.no_grad(), default_double():
                logits = self.model(ids, use_cache=False).logits[:, :-1]
                picked = logits.gather(-1, ids[:, 1:, None])[..., 0]
                out.append((torch.logsumexp(logits, -1) - picked).numpy())
        return np.concatenate(out)


def mean_line(values):
    values = np.asarray(values)
    n, total = len(values), math.fsum(values)
    mean = total / n
    stderr = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1) / n)
    return {"tokens": n, "nll_sum": total, "nll": mean, "ppl": math.exp(mean), "stderr": stderr}


def single(scorer, stream, length):
    return mean_line(scorer.nll([stream[:length]])[0])


def position(scorer, stream, length):
    values = scorer.nll([stream[:length]])[0]
    bucket = np.arange(1, length) * BUCKETS // length
    return mean_line(values) | {"buckets": BUCKETS,
                                "bucket_tokens": [int((bucket == b).sum()) for b in range(BUCKETS)],
                                "bucket_nll_sum": [math.fsum(values[bucket == b]) for b in range(BUCKETS)]}


def sliding(scorer, stream, length, stride):
    """Windows begin at 0, S, 2S, ... and hold W tokens (the last what is left); each scores what none before did."""
    assert 0 < stride < length
    begins = [0]
    while begins[-1] + length < len(stream):
        begins.append(begins[-1] + stride)
    full = [b for b in begins if b + length <= len(stream)]
    values = scorer.nll([stream[b:b + length] for b in full])
    scored = [values[0]] + [row[length - stride - 1:] for row in values[1:]]
    if len(full) < len(begins):  # the last, shorter window
        rest = stream[begins[-1]:]
        fresh = len(stream) - (full[-1] + length)
        scored.append(scorer.nll([rest])[0][-fresh:])
    scored = np.concatenate(scored)
    assert len(scored) == len(stream) - 1
    return mean_line(scored) | {"stride": stride, "windows": len(begins)}


def disjoint(scorer, stream, length):
    """As llama.cpp: BOS in front of every chunk of length - 1 tokens, only targets after the middle count."""
    text = stream[1:]
    chunks = [[BOS] + text[i:i + length - 1] for i in range(0, len(text) - (length - 1) + 1, length - 1)]
    values = scorer.nll(chunks)[:, length // 2:]  # targets length/2 + 1 ... length - 1
    return mean_line(values.reshape(-1)) | {"chunks": len(chunks)}


def matched(scorer, stream, length, starts):
    """The same targets for every length: the pass is the `length` tokens that end with the block."""
    values = scorer.nll([stream[t + SCORE - length:t + SCORE] for t in starts])[:, -SCORE:]
    sums = np.array([math.fsum(row) for row in values])
    total, means = math.fsum(sums), sums / SCORE
    return {"tokens": values.size, "nll_sum": total, "nll": total / values.size, "ppl": math.exp(total / values.size),
            "stderr": float(np.std(means, ddof=1) / math.sqrt(len(means))), "score": SCORE, "starts": starts,
            "block_nll_sum": sums.tolist()}


def block_starts(stream, longest, seed):
    """BLOCKS different places among longest, longest + SCORE, longest + 2 SCORE, ...: blocks do not overlap."""
    places = np.arange(longest, len(stream) - SCORE + 1, SCORE)
    return sorted(np.random.default_rng(seed).choice(places, BLOCKS, replace=False).tolist())


# factor -> (lengths of single, position and disjoint; (window, stride) of sliding; lengths of matched)
PLAN = {
    1: ((128, 256, 512), ((128, 64), (256, 64), (512, 256)), (128, 256, 512)),
    2: ((128, 256, 512, 1024), ((1024, 256),), (256, 512, 1024)),
    4: ((128, 256, 512, 1024, 2048), ((2048, 512),), (512, 1024, 2048)),
}
TEXTS = {
    "book": (TEXT / "stories.txt", PLAN),
    "sample": (ROOT / "models/stories260K/sample-stories.txt", {1: ((128, 512), ((512, 256),), (128, 512))}),
}


def results(config, state, stream, plan):
    for factor, (lengths, slides, match) in plan.items():
        scorer = Scorer(config, state, factor)
        head = {"rope": "linear" if factor > 1 else "none", "factor": factor}
        for length in lengths:
            yield {"protocol": "single"} | head | {"length": length} | single(scorer, stream, length)
            yield {"protocol": "disjoint"} | head | {"length": length} | disjoint(scorer, stream, length)
        if factor == 1:  # beyond the window without any scaling
            yield {"protocol": "single"} | head | {"length": 1024} | single(scorer, stream, 1024)
        yield {"protocol": "position"} | head | {"length": lengths[-1]} | position(scorer, stream, lengths[-1])
        for length, stride in slides:
            yield {"protocol": "sliding"} | head | {"length": length} | sliding(scorer, stream, length, stride)
        starts = block_starts(stream, max(match), 6)
        for length in match:
            yield {"protocol": "matched"} | head | {"length": length} | matched(scorer, stream, length, starts)


def main():
    checkpoint, vocabulary = locate("stories260K")
    config, state = read_checkpoint(checkpoint)
    tokenizer = Tokenizer(vocabulary, config.vocab_size)
    path, plan = TEXTS[sys.argv[1]]
    stream = tokenizer.encode(path.read_text(encoding="utf-8"))
    items = []
    for item in results(config, state, stream, plan):
        items.append(item)
        print(f"{item['protocol']:9} {item['rope']} {item['factor']} {item['length']:5} {item['tokens']:6} tokens: "
              f"nll {item['nll']:.6f} +- {item['stderr']:.4f}", flush=True)
    write_json(GOLDEN / "perplexity" / f"{path.stem}.json", "perplexity.py", {
        "arithmetic": "float64", "model": "stories260K", "text": str(path.relative_to(ROOT)),
        "stream_tokens": len(stream), "stream_head": stream[:32]}, "results", items)


if __name__ == "__main__":
    main()
