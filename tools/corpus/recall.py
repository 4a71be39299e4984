"""Generated documents that can only be predicted by looking back, and the items that test for it.

    python recall.py train TOKENIZER.model BOOKS.txt OUT.txt --windows N --seed S [--mix KIND=SHARE,...] [--grow A:B]
    python recall.py items TOKENIZER.model BOOKS.txt OUT.tsv --seed S [--trials N]

train: N documents of exactly --window W tokens, joined by single spaces, so that as the first --data file of `furlong
train --length W` every window is one document. Kinds:
  phrases  phrases of 2 to 8 random words from a small dictionary drawn again and again
  cycle    distinct random words, over and over
  copy     random words, a random gap, the same words again, until the document is full
  cards    "word is value;" for one-token words and values, then the same cards in other orders, in book text or not
  numbers  cards whose values are numbers of 1 to 5 digits
  key      "The NAME key is VALUE." in book text (VALUE: a word or 1 to 5 digits), asked for once or more; in that share
           of them that --lines says (default 0) each on a line of its own
The words of a document are the first so many of one fixed shuffle of the one-token words; how many is drawn
log-uniformly between the bounds of --grow (default: 16 to all), so that a small set, which is learned first, is in
every document.

items: lines of group, prompt, answer for furlong eval recall. The books must be of another split than the training's.
  induction:N   N random one-token words, then the same words: the answer is the second copy
  key:D         a word as value, D tokens from its first statement to the question (more where they do not fit)
  passkey:D     five digits likewise
  cards:D       one of the cards, D tokens back, among others
"""
import argparse
import math
import random

import sentencepiece

NAMES = "pass silver golden iron secret first second old new red green blue black white little great".split()


class Words:
    """Texts made of words whose token counts add up, because no piece reaches across a space."""

    def __init__(self, path):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=path)
        self.count = {}
        pieces = [self.sp.id_to_piece(i) for i in range(self.sp.get_piece_size())]
        words = [p[1:] for p in pieces if p[0] == "\u2581" and p[1:].isascii() and p[1:].isalpha() and len(p) > 2]
        self.single = sorted(w for w in words if len(self.sp.encode(w)) == 1)
        random.Random(0).shuffle(self.single)

    def tokens(self, words):
        total = 0
        for w in words:
            if w not in self.count:
                self.count[w] = len(self.sp.encode(w))
            total += self.count[w]
        return total

    def fit(self, words, room, rng):
        """The first words that fill exactly `room` tokens, the last ones replaced by one-token words if need be."""
        out, left = [], room
        for w in words:
            n = self.tokens([w])
            if n > left:
                break
            out.append(w)
            left -= n
        return out + [rng.choice(self.single) for _ in range(left)]


class Maker:
    def __init__(self, words, books, seed, grow, window, lines=0.0):
        self.w, self.rng, self.window, self.lines = words, random.Random(seed), window, lines
        self.books = books
        self.low, self.high = grow

    def filler(self, room):
        start = self.rng.randrange(len(self.books) - self.window)
        return self.w.fit(self.books[start:start + room], room, self.rng)

    def vocabulary(self, least=16):
        low, high = max(self.low, least), max(min(self.high, len(self.w.single)), least)
        size = round(math.exp(self.rng.uniform(math.log(low), math.log(high))))
        return self.w.single[:size]

    def phrases(self):
        rng, words = self.rng, self.vocabulary()
        n = rng.randint(3, max(4, self.window // 12))
        book = [[rng.choice(words) for _ in range(rng.randint(2, 8))] for _ in range(n)]
        out = []
        while len(out) < self.window:
            out += rng.choice(book)
        return out[:self.window]

    def cycle(self):
        words = self.vocabulary()
        segment = self.rng.sample(words, self.rng.randint(4, min(len(words), self.window // 3)))
        return (segment * self.window)[:self.window]

    def copy(self):
        rng, words = self.rng, self.vocabulary()
        segment = [rng.choice(words) for _ in range(rng.randint(8, self.window * 3 // 7))]
        out = []
        while len(out) < self.window:
            out += segment + [rng.choice(words) for _ in range(rng.randint(0, self.window // 6))]
        return out[:self.window]

    def number(self):
        return "".join(self.rng.choice("0123456789") for _ in range(self.rng.choice((1, 2, 3, 5, 5, 5))))

    def numbers(self):
        words = self.vocabulary(64)
        return self.deal(words, self.number, self.rng.randint(2, max(3, self.window // 24)))

    def cards(self):
        words = self.vocabulary(64)
        return self.deal(words, lambda: self.rng.choice(words), self.rng.randint(3, max(4, self.window // 12)))

    def deal(self, words, value, n):
        rng = self.rng
        keys, values = rng.sample(words, n), [value() for _ in range(n)]
        cards = [[k, "is", v + ";"] for k, v in zip(keys, values)]
        out = []
        while len(out) < self.window:
            out += [t for c in rng.sample(cards, n) for t in c]
            if rng.random() < 0.5:
                out += self.filler(rng.randint(1, self.window // 3))
        return self.w.fit(out, self.window, rng)

    def value(self):
        rng = self.rng
        if rng.random() < 0.4:
            return rng.choice(self.w.single)
        return self.number()

    def key(self):
        rng = self.rng
        pairs = [(n, self.value()) for n in rng.sample(NAMES, rng.choice((1, 1, 2, 3)))]
        said = [f"The {n} key is {v}. Remember it. {v} is the {n} key.".split() for n, v in pairs]
        asked = [f"What is the {n} key? The {n} key is {v}.".split() for n, v in pairs for _ in range(2)]
        rng.shuffle(asked)
        parts = said + asked
        lines = self.lines > 0 and rng.random() < self.lines
        room = self.window - sum(self.w.tokens(p) + 3 * lines for p in parts)
        while room < 0:
            room += self.w.tokens(parts.pop()) + 3 * lines
        cut = sorted(rng.randint(0, room) for _ in parts)
        gaps = [b - a for a, b in zip([0] + cut, cut + [room])]
        out = []
        for gap, part in zip(gaps, parts + [[]]):
            out = self.onto(out, self.filler(gap), lines)
            out = self.onto(out, part, lines)
        return self.w.fit(out, self.window, rng) if lines else out

    @staticmethod
    def onto(out, part, line):
        """out and part, part on a line of its own if `line`: two words with a line end between them are one word."""
        if line and out and part:
            return out[:-1] + [out[-1] + "\n" + part[0]] + part[1:]
        return out + part


def train(args, words, books):
    low, high = (int(x) for x in args.grow.split(":"))
    m = Maker(words, books, args.seed, (low, high), args.window, args.lines)
    mix = {k: float(v) for k, v in (p.split("=") for p in args.mix.split(","))}
    with open(args.out, "w") as file:
        for i in range(args.windows):
            doc = getattr(m, m.rng.choices(list(mix), mix.values())[0])()
            assert words.tokens(doc) == args.window, (words.tokens(doc), doc)
            file.write((" " if i else "") + " ".join(doc))


def items(args, words, books):
    m = Maker(words, books, args.seed, (16, 1 << 20), 256)
    rng, lines = m.rng, []
    for n in (32, 120):
        for _ in range(args.trials):
            segment = [rng.choice(words.single) for _ in range(n)]
            lines.append((f"induction:{n}", segment, segment))
    for distance in (24, 48, 80, 112, 144, 176, 208, 232):
        for _ in range(args.trials):
            for kind in ("key", "passkey"):
                v = rng.choice(words.single) if kind == "key" else "".join(rng.choice("0123456789") for _ in range(5))
                said = f"The pass key is {v}. Remember it. {v} is the pass key.".split()
                ask = "What is the pass key? The pass key is".split()
                gap = distance - words.tokens(said) - words.tokens(ask) + words.tokens(said[:4])
                before = 254 - words.tokens([v]) - words.tokens(said + ask) - max(gap, 0)
                lines.append((f"{kind}:{distance}", m.filler(max(before, 0)) + said + m.filler(max(gap, 0)) + ask, [v]))
            keys, values = rng.sample(words.single, 5), [rng.choice(words.single) for _ in range(5)]
            cards = [t for k, v in zip(keys, values) for t in (k, "is", v + ";")]
            gap = max(distance - 18 - 2, 0)
            i = 0 if distance > 24 else rng.randrange(2)
            ask = [keys[i], "is"]
            before = m.filler(max(252 - 20 - 2 - gap, 0))
            lines.append((f"cards:{distance}", before + cards + m.filler(gap) + ask, [values[i]]))
    lines.sort(key=lambda line: (line[0].split(":")[0], int(line[0].split(":")[1])))
    with open(args.out, "w") as file:
        for group, prompt, answer in lines:
            assert words.tokens(prompt + answer) <= 256, (group, words.tokens(prompt + answer))
            file.write("\t".join((group, " ".join(prompt), " ".join(answer))) + "\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=("train", "items"))
    p.add_argument("tokenizer")
    p.add_argument("books")
    p.add_argument("out")
    p.add_argument("--windows", type=int, default=10000)
    p.add_argument("--window", type=int, default=256)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--mix", default="phrases=4,copy=2,cards=2,key=2")
    p.add_argument("--grow", default="16:1000000")
    p.add_argument("--lines", type=float, default=0.0)
    p.add_argument("--trials", type=int, default=25)
    args = p.parse_args()
    with open(args.books) as file:
        books = file.read(40_000_000).split()
    {"train": train, "items": items}[args.what](args, Words(args.tokenizer), books)


main()
