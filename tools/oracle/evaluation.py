"""Golden data of the evaluations in tests/data/golden/eval: passkey.json, rouge.json, stories.json.

    python tools/oracle/evaluation.py

The passkey prompt is put together as in the landmark-attention repository's run_test.py (Mohtashami and Jaggi 2023), Wilson
intervals by their formula, ROUGE by the package rouge_score. stories.json holds what stories260K finds of the questions in
tests/data/eval, prompted and cut into ids as the LM evaluation harness 0.4.13 does, also by a tokenizer that joins a
prompt's end with an answer's beginning (tests/data/eval/joining.bin, made here), divergences of its predictions from those
it makes with interpolated positions, and accuracy by position, in float64.
"""
import copy
import json
import math
import struct

import numpy as np
import torch
from rouge_score import rouge_scorer

from double import default_double, double_model
from golden import GOLDEN, ROOT, TEXT, write_json
from llama2c import BOS, Tokenizer, locate, read_checkpoint

OUT = GOLDEN / "eval"
DATA = ROOT / "tests/data/eval"

ROUGE = [
    ("The cat sat on the mat.", "The cat was sitting on the mat."),
    ("a b c d e f g", "g f e d c b a"),
    ("Summaries, of REPORTS in 2023: 17 of them!", "summaries of reports (2023), of all 17."),
    ("", "nothing to compare with"),
    ("nothing written", ""),
    ("!!! ???", "..."),
    ("one", "one"),
    ("one two one two one", "one one one two"),
    ("na\u00efve caf\u00e9 \u212aelvin \u0130stanbul", "na ve caf kelvin i stanbul"),
    ("under_score a-b don't", "underscore under score a b don t"),
]
def passkey(key, n_prefix, n_suffix):
    description = (
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
        "I will quiz you about the important information there."
    )
    garbage = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    inf = " ".join([garbage] * 2000)
    lines = [
        description,
        inf[:n_prefix],
        f"The pass key is {key}. Remember it. {key} is the pass key.",
        inf[:n_suffix],
        "What is the pass key? The pass key is",
    ]
    return "\n".join(lines)


def wilson(hits, n, z=1.959963984540054):
    p = hits / n
    d = 1 + z * z / n
    m = (p + z * z / (2 * n)) / d
    h = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return [m - h, m + h]


def lines(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def questions():
    """(task, prompt, answers) as the harness's boolq, piqa and arc_easy make them."""
    for doc in lines("boolq.jsonl"):
        yield "boolq", f"{doc['passage']}\nQuestion: {doc['question']}?\nAnswer:", ["no", "yes"]
    for doc in lines("piqa.jsonl"):
        yield "piqa", f"Question: {doc['goal']}\nAnswer:", [doc["sol1"], doc["sol2"]]
    for doc in lines("arc.jsonl"):
        question = doc["question"]
        yield "arc", f"Question: {question['stem']}\nAnswer:", [choice["text"] for choice in question["choices"]]


def log_probabilities(model, ids):
    with torch.no_grad(), default_double():
        return torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0], -1)


class Joining(Tokenizer):
    """The tokenizer with ": " in place of a rare piece, so that a prompt's colon and an answer's space become one id."""
    PIECE, SCORE = "\u00a0".encode(), 1e6

    def __init__(self, path, vocab, out):
        data = bytearray(path.read_bytes())
        at = 4
        for _ in range(vocab):
            _, length = struct.unpack_from("<fi", data, at)
            if data[at + 8:at + 8 + length] == self.PIECE:
                data[at:at + 4] = struct.pack("<f", self.SCORE)
                data[at + 8:at + 8 + length] = b": "
                break
            at += 8 + length
        else:
            raise ValueError("the vocabulary has no such piece")
        out.write_bytes(data)
        super().__init__(out, vocab)


def encode_pair(tokenizer, context, continuation):
    """TemplateLM._encode_pair of lm_eval 0.4.13 for causal models: (ids of both, ids that are the context's)."""
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    return tokenizer.encode(context + continuation), len(tokenizer.encode(context))


def choice(model, tokenizer):
    for task, prompt, answers in questions():
        found = []
        for answer in answers:
            whole, context = encode_pair(tokenizer, prompt, f" {answer}")
            log_p = log_probabilities(model, whole[:-1])
            found.append(sum(log_p[i - 1, whole[i]].item() for i in range(context, len(whole))))
        normalised = [x / len(answer) for x, answer in zip(found, answers)]
        yield {"task": task, "log_likelihood": found, "best": int(np.argmax(found)),
               "best_normalised": int(np.argmax(normalised))}


def divergence(config, state, model, ids):
    """KL(plain || interpolated by 2) over all tokens but the first."""
    stretched = copy.deepcopy(config)
    stretched.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    p, q = log_probabilities(model, ids[:-1]), log_probabilities(double_model(stretched, state), ids[:-1])
    kl = (p.exp() * (p - q)).sum(-1).numpy()
    target = torch.tensor(ids[1:])[:, None]
    return {"tokens": len(kl), "kl": float(kl.mean()), "kl_max": float(kl.max()),
            "kl_stderr": float(kl.std() / math.sqrt(len(kl) - 1)),
            "top1": float((p.argmax(-1) == q.argmax(-1)).double().mean()),
            "reference_nll": float(-p.gather(-1, target).mean()), "nll": float(-q.gather(-1, target).mean())}


def position(model, ids, length, bins):
    """Sums over windows of BOS and length - 1 further ids."""
    nll, right = np.zeros(bins), np.zeros(bins, int)
    windows = (len(ids) - 1) // (length - 1)
    for w in range(windows):
        window = [BOS] + ids[1 + w * (length - 1):1 + (w + 1) * (length - 1)]
        log_p = log_probabilities(model, window[:-1])
        for i in range(1, length):
            b = next(b for b in range(bins) if length * b // bins <= i < length * (b + 1) // bins)
            nll[b] -= log_p[i - 1, window[i]].item()
            right[b] += int(log_p[i - 1].argmax()) == window[i]
    return {"length": length, "bins": bins, "windows": windows, "nll": nll.tolist(), "right": right.tolist()}


def stories():
    path, vocabulary = locate("stories260K")
    config, state = read_checkpoint(path)
    model = double_model(config, state)
    tokenizer = Tokenizer(vocabulary, config.vocab_size)
    ids = np.fromfile(GOLDEN / "stories260K/text.i32.bin", "<i4").tolist()
    joining = Joining(vocabulary, config.vocab_size, DATA / "joining.bin")
    head = {"divergence": divergence(config, state, model, ids[:300]), "position": position(model, ids[:600], 200, 8),
            "choice_joined": list(choice(model, joining))}
    write_json(OUT / "stories.json", "evaluation.py", head, "choice", list(choice(model, tokenizer)))


def rouge():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    text = (TEXT / "stories.txt").read_text()
    pairs = ROUGE + [(text[:1500], text[900:2600]), (text[:3000], text[3000:5500])]
    items = []
    for reference, candidate in pairs:
        score = scorer.score(reference, candidate)
        items.append({"reference": reference, "candidate": candidate,
                      "rouge": [[s.precision, s.recall, s.fmeasure] for s in score.values()]})
    write_json(OUT / "rouge.json", "evaluation.py with rouge_score 0.1.2", {}, "pairs", items)


def main():
    cases = [(12345, 0, 0), (50000, 90, 89), (7, 91, 1), (99999, 1000, 333), (10000, 17, 4001)]
    texts = [{"key": str(k), "before": b, "after": a, "text": passkey(k, b, a)} for k, b, a in cases]
    shares = [{"hits": h, "trials": n, "interval": wilson(h, n)} for h, n in ((0, 10), (2, 10), (10, 10), (3, 20), (97, 200))]
    write_json(OUT / "passkey.json", "evaluation.py", {"wilson": shares}, "passkey", texts)
    rouge()
    stories()


main()
