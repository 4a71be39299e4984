"""Texts with known overlap and their counts, by Python's own strings and sets: tests/data/overlap/.

    python overlap.py
"""
import json
import pathlib
import random
import string
import unicodedata

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/overlap"
WORDS = ["the", "The", "ship", "sea,", "don't", "e.g.", "Über", "ΣΊΣΥΦΟΣ", "naïve", "«quoted»", "—", "42", "3.14",
         "end.", "(yes)", "日本", "a-b", "...", "I", "WHALE;"]
SPACES = [" ", " ", " ", "\n", "\t", "  ", "\u00a0", "\u2003"]


def lower(c):
    return c.lower() if len(c.lower()) == 1 else c


def words(text):
    kept = (c for c in text if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return "".join(map(lower, kept)).split()


def grams(text, n):
    w = words(text)
    return [tuple(w[i:i + n]) for i in range(len(w) - n + 1)]


def random_text(rng, count):
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(count))


def main():
    rng = random.Random(13)
    OUT.mkdir(parents=True, exist_ok=True)
    training = [random_text(rng, rng.randrange(5, 400)) for _ in range(6)]
    evaluation = []
    for i in range(12):
        text = random_text(rng, rng.randrange(0, 120))
        for _ in range(i % 4):  # passages of the training text, in other spelling
            source = words(rng.choice(training))
            at = rng.randrange(max(len(source) - 30, 1))
            passage = source[at:at + rng.randrange(5, 30)]
            text += " ".join(w.upper() + rng.choice([",", "", "!", " --"]) for w in passage) + " "
            text += random_text(rng, rng.randrange(0, 20))
        evaluation.append(text)
    evaluation.append("")  # empty: passed over
    evaluation.append(training[1])
    (OUT / "train.txt").write_text("".join(t.rstrip("\n") + "\n=====\n" for t in training))
    (OUT / "eval.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(evaluation)))
    lines = []
    for n in (13, 3, 1):
        known = {g for t in training for g in grams(t, n)}
        for i, t in enumerate(evaluation):
            g = grams(t, n)
            if t:
                lines.append(f"{n} {i + 1} {len(words(t))} {len(g)} {sum(x in known for x in g)}\n")
        every = [x for t in evaluation for x in grams(t, n)]
        lines.append(f"{n} 0 {len(set(every))} {len(every)} {sum(x in known for x in every)}\n")
    (OUT / "golden.txt").write_text("".join(lines))


main()
