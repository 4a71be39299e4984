"""Golden logits and greedy continuations of the trained llama2.c checkpoints, in float64.

    python tools/oracle/stories.py

For each model, tests/data/golden/<name>/ holds logits.txt (as the records of tiny.py: BOS + the first tokens of
tests/data/text/stories.txt), text.i32.bin (BOS + all ids of that file) and greedy.json: arg-max continuations with the
margin between the best and the second logit at each step, which tells where rounding may decide. Continuations run on
through BOS and EOS; "stop" is the index of the first of them among the generated ids (-1: none), "text" the prompt and
the completion up to there.
"""
import numpy as np
import torch
from transformers import LlamaForCausalLM

import plain
from double import default_double, double_logits, double_model, single_logits
from golden import GOLDEN, TEXT, write_array, write_json, write_record
from llama2c import BOS, EOS, Tokenizer, locate, read_checkpoint

MODELS = {
    "stories260K": ((7, 128, 512), ["", "Once upon a time", "One day, a little girl named Lily went to the park.",
                                    "Tom had a big red ball. He wanted to"]),
    "aidreams260K": ((7, 64, 128), ["", "I dreamed of", "The machine"]),
}
STEPS = 200


def logits_record(name, config, state, text, lengths):
    def rows(compute):
        return np.concatenate([compute(text[:n])[-1 if k else 0:] for k, n in enumerate(lengths)])

    exact = rows(lambda ids: double_logits(config, state, ids))
    wide = {key: value.double().numpy() for key, value in state.items()}
    second = np.abs(rows(lambda ids: plain.logits(config, wide, ids)) - exact).max()
    assert second < 1e-10, second
    error = np.abs(rows(lambda ids: single_logits(LlamaForCausalLM, config, state, ids)) - exact).max(axis=1)
    file = write_array(GOLDEN / name / "logits", exact, "f64")
    write_record(GOLDEN / name / "logits.txt", "stories.py", [
        "# float64 logits [rows, vocab]; the input of length n is the first n ids of text.i32.bin; float32_error: "
        "largest",
        "# |difference| of float32 eager Transformers in each row",
        f"vocab {config.vocab_size}", f"rows {len(exact)}",
        "row_length " + " ".join([str(lengths[0])] * lengths[0] + [str(n) for n in lengths[1:]]),
        "row_position " + " ".join([str(i) for i in range(lengths[0])] + [str(n - 1) for n in lengths[1:]]),
        "float32_error " + " ".join(f"{e:.1e}" for e in error), f"ids text.i32.bin {len(text)}", f"logits {file}"])
    print(f"{name}: logits, float32 error {error.max():.1e}, second opinion {second:.1e}")


def greedy(model, tokenizer, prompt, steps):
    ids = tokenizer.encode(prompt)
    count, margins = len(ids), []
    with torch.no_grad(), default_double():
        for _ in range(steps):
            best = torch.topk(model(torch.tensor([ids]), use_cache=False).logits[0, -1], 2)
            margins.append(float(best.values[0] - best.values[1]))
            ids.append(int(best.indices[0]))
    new = ids[count:]
    stop = next((i for i, token in enumerate(new) if token in (BOS, EOS)), -1)
    text = tokenizer.decode(ids[1:count] + (new if stop < 0 else new[:stop]))
    return {"prompt": prompt, "prompt_ids": ids[:count], "ids": new, "margins": [float(f"{m:.6g}") for m in margins],
            "smallest_margin": float(f"{min(margins):.6g}"), "stop": stop, "text": text}


def main():
    for name, (lengths, prompts) in MODELS.items():
        checkpoint, vocabulary = locate(name)
        config, state = read_checkpoint(checkpoint)
        tokenizer = Tokenizer(vocabulary, config.vocab_size)
        text = (TEXT / "stories.txt").read_text(encoding="utf-8")
        assert tokenizer.encode(text[:3000]) == tokenizer.encode_slowly(text[:3000])
        ids = tokenizer.encode(text)
        write_array(GOLDEN / name / "text", ids, "i32")
        logits_record(name, config, state, ids, lengths)
        model = double_model(config, state)
        cases = []
        for prompt in prompts:
            room = config.max_position_embeddings - len(tokenizer.encode(prompt))
            cases.append(greedy(model, tokenizer, prompt, min(STEPS, room)))
            case = cases[-1]
            print(f"  {len(case['ids'])} ids, smallest margin {case['smallest_margin']}: {case['text']!r:.120}")
        write_json(GOLDEN / name / "greedy.json", "stories.py", {"arithmetic": "float64"}, "cases", cases)


if __name__ == "__main__":
    main()
