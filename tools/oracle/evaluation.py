"""Golden data of the evaluations in tests/data/golden/eval: passkey prompts, intervals, ROUGE.

    python tools/oracle/evaluation.py

The passkey prompt is put together as in the landmark-attention repository's run_test.py (Mohtashami and Jaggi 2023),
intervals as in statsmodels' formula, ROUGE by the package rouge_score 0.1.2.
"""
import json
import math
import os

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "../../tests/data/golden/eval")


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


def main():
    os.makedirs(OUT, exist_ok=True)
    cases = [(12345, 0, 0), (50000, 90, 89), (7, 91, 1), (99999, 1000, 333), (10000, 17, 4001)]
    data = {
        "passkey": [
            {"key": str(k), "before": b, "after": a, "text": passkey(k, b, a)} for k, b, a in cases
        ],
        "wilson": [{"hits": h, "trials": n, "interval": wilson(h, n)} for h, n in ((0, 10), (2, 10), (10, 10), (3, 20), (97, 200))],
    }
    with open(os.path.join(OUT, "passkey.json"), "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


main()
