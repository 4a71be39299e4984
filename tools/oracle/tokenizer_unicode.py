"""Golden file for tests/text/test_unicode.c: what characters are to the tokenizers library, asked of all code points.

    python tokenizer_unicode.py tests/data/tokenizers/unicode.golden

    CLASS first-last ...        code points (hexadecimal) that \\p{L}, \\p{N}, \\s, \\w, Digits and Punctuation take
    FORM hash                   FNV-1a of the normal forms of every code point, each followed by a zero byte
    FORM SEED count hash        the same for `count` strings drawn by a generator that the test has too
"""
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
# Letters that compose, marks of several classes in awkward order, Hangul, and what came after the library's tables.
POOL = ([0x41, 0x61, 0x65, 0x6F, 0x71, 0x75, 0xC5, 0xE9, 0xF4, 0x1EA1, 0x3B9, 0x3CA, 0x915, 0x928, 0x9C7, 0x1025, 0x304B, 0x30CF, 0x1100, 0x1112, 0x1161, 0x1175,
         0x11A8, 0x11C2, 0xAC00, 0xAC01, 0xD7A3, 0xFB01, 0xFDFA, 0x2126, 0x212B, 0x2F800, 0x1D15E, 0x11935, 0x4E00, 0x20] +
        [0x300, 0x301, 0x302, 0x303, 0x308, 0x30A, 0x316, 0x323, 0x327, 0x328, 0x331, 0x334, 0x338, 0x342, 0x344, 0x345, 0x35C, 0x5B0, 0x5B8, 0x64B, 0x651, 0x93C,
         0x94D, 0x9BE, 0x9D7, 0x102E, 0x3099, 0x309A, 0x1DC0, 0x20D0, 0x1D165, 0x1D16E, 0x1ABF, 0x11930, 0x1E130, 0x200D])


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return " ".join(f"{a:x}-{b:x}" for a, b in out)


def matched(pattern):
    """Code points that a pattern takes out of a text."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    text = "".join(map(chr, POINTS))
    kept = set()
    for _, (a, b) in split.pre_tokenize_str(text):
        kept.update(range(a, b))
    return [c for i, c in enumerate(POINTS) if i not in kept]


def isolated(pre_tokenizer):
    return [c for c in POINTS if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")) == 3]


def words():
    """Code points behind which a token that must be a single word is not found."""
    t = Tokenizer(models.BPE({"a": 0}, []))
    t.add_tokens([AddedToken("Z", single_word=True, normalized=False)])
    return [c for c in POINTS if 1 not in t.encode(chr(c) + ("" if c == 0x5A else "Z")).ids or c == 0x5A]


def fnv(parts):
    value = 0xCBF29CE484222325
    for part in parts:
        for byte in part.encode() + b"\0":
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def drawn(seed, count):
    """Strings of 1 to 12 characters of the pool by a 64-bit congruential generator, its high bits."""
    state = seed
    def draw(below):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % below
    for _ in range(count):
        yield "".join(chr(POOL[draw(len(POOL))]) for _ in range(1 + draw(12)))


def main():
    lines = ["letter " + ranges(matched(r"\p{L}")), "number " + ranges(matched(r"\p{N}")), "space " + ranges(matched(r"\s")),
             "word " + ranges(words()), "numeric " + ranges(isolated(pre_tokenizers.Digits(True))),
             "punctuation " + ranges(isolated(pre_tokenizers.Punctuation("isolated")))]
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        form = getattr(normalizers, name)()
        lines.append(f"{name} {fnv(form.normalize_str(chr(c)) for c in POINTS if c):016x}")
        lines.append(f"{name} 7 20000 {fnv(form.normalize_str(s) for s in drawn(7, 20000)):016x}")
    open(sys.argv[1], "w").write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
