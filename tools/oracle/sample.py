"""Stories sampled from stories260K itself: models/stories260K/sample-stories.txt, a text without any licence question.

    python tools/oracle/sample.py

Temperature 1, top-p 0.9, seed 5, float32. Each story starts from BOS alone and counts only if the model ends it (BOS or
EOS) inside its window. Stories are joined by a blank line; line ends inside a story are made spaces, so a blank line is
always the end of a story.
"""
import torch
from transformers import LlamaForCausalLM

from golden import ROOT, versions
from llama2c import BOS, EOS, Tokenizer, locate, read_checkpoint

BYTES, ROWS, TEMPERATURE, TOP_P, SEED = 100_000, 64, 1.0, 0.9, 5

NOTICE = """sample-stories.txt was sampled from the model in this folder (stories260K) itself: temperature {t}, top-p {p}, seed {s},
by tools/oracle/sample.py ({versions}). No text of its training set was copied. One story per paragraph.
"""


def top_p(logits, generator):
    chance, order = torch.softmax(logits / TEMPERATURE, -1).sort(descending=True)
    chance[chance.cumsum(-1) - chance > TOP_P] = 0.0  # keep the token that crosses the line
    return order.gather(-1, torch.multinomial(chance, 1, generator=generator))[:, 0]


def batch(model, generator, window):
    """ROWS samples of at most window tokens, without the leading BOS; None where a story did not end."""
    ids = torch.full((ROWS, 1), BOS)
    with torch.no_grad():
        out = model(ids, use_cache=True)
        while ids.shape[1] < window:
            new = top_p(out.logits[:, -1], generator)
            ids = torch.cat((ids, new[:, None]), 1)
            out = model(new[:, None], past_key_values=out.past_key_values, use_cache=True)
    for row in ids[:, 1:].tolist():
        ends = [i for i, token in enumerate(row) if token in (BOS, EOS)]
        yield row[:ends[0]] if ends else None


def main():
    checkpoint, vocabulary = locate("stories260K")
    config, state = read_checkpoint(checkpoint)
    tokenizer = Tokenizer(vocabulary, config.vocab_size)
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    model.eval()
    generator = torch.Generator().manual_seed(SEED)
    stories, size = [], 0
    while size < BYTES:
        for row in batch(model, generator, config.max_position_embeddings):
            if row and size < BYTES:
                stories.append(" ".join(tokenizer.decode(row).split()))
                size += len(stories[-1].encode()) + 2
    folder = ROOT / "models/stories260K"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sample-stories.txt").write_text("\n\n".join(stories) + "\n", encoding="utf-8")
    (folder / "sample-stories.NOTICE").write_text(NOTICE.format(t=TEMPERATURE, p=TOP_P, s=SEED, versions=versions()))
    print(f"{len(stories)} stories, {size} bytes")


if __name__ == "__main__":
    main()
