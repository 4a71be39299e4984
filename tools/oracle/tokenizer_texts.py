"""Texts on which tokenizers go wrong: a fixed list, and any number of random ones from a seed."""
import random

LLAMA_CPP = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", "Hello world", " Hello world", "Hello World",
    " Hello World", " Hello World!", "Hello, world!", " Hello, world!", " this is 🦙.cpp", "w048 7tuijk dsdfhu",
    "нещо на Български", "កាន់តែពិសេសអាចខលចេញ",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ (only emoji that has its own token)",
    "Hello", " Hello", "  Hello", "   Hello", "    Hello", "    Hello\n    Hello", " (", "\n =", "' era",
    "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～", "!!!!!!", "3", "33", "333", "3333", "33333", "333333",
    "3333333", "33333333", "333333333", "Cửa Việt", " discards",
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 "
    "3333 33333 333333 3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= "
    "нещо на Български ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure "
    "I'll make it, 'D you like some tea? We'Ve a'lL",
]

SPECIAL = [
    "<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|padding|>", "<|im_start|>user\nHi<|im_end|>\n",
    "a<s>b</s>c", "<s> a </s> b", "<s><s></s></s>", " <s>", "<s> ", "<S>", "< s >", "<|endoftext|>Hello",
    "Hello<|endoftext|>", "Hello <|endoftext|> world", "<|endoftext|><|endoftext|>", "<|endoftext", "|endoftext|>",
    "<|begin_of_text|>Hello<|end_of_text|>", "<0x0A>", "<0x41>a<0x41>", "<0xFF>", "<mask> x", "x  <mask>  y",
    "[WORD] a[WORD]b [WORD]", "[WORD][WORD]", "foo bar", "the foo bar.", "Foo Bar", "left<L>  right", "x <L>y<R>  z",
    "<R>   <L>", "  <R>  ", "\u00a0<L>\u3000", "e\u0301<N>", "\u00e9<N>", "caf\u00e9 <N> cafe\u0301", "<N", "N>",
    "▁", "▁▁", "a▁b", "▁a", " ▁ ", "▁<s>▁", "user@example", "[USER_A]", "[USER_A] [USER_B]", "x[USER_A]y[USER_A]z",
    "▁[USER_A]▁", "New York", "in New  York now", "\n<s>\n", "\n</s>\n",
]

ODD = [
    "a", "z", "0", "é", "ß", "ſ", "'ſ", "I'ſ", "'S", "'s", "'LL", "'ll", "'Ll", "'lL", "'rE", "'RE", "'Ve", "'t'T", "''s",
    "it's we're I'd you'll they've I'm don't", "IT'S WE'RE I'D YOU'LL THEY'VE I'M DON'T", "'", "''", "'''", "' s", "'\n",
    "\r", "\r\n", "\n\r", "\r\r\n\n", " \r\n ", "a\r\nb", "a \n b", "a\n\n b", "a \n\n  b", "\n a", " \na", "  \n  \n  a",
    "\t\ta", "\ta\tb", "a\t", "a \t b", "\x0b", "\x0c", "\x1c\x1d\x1e\x1f", "\x00", "a\x00b", "\x01\x02\x03", "\x7f",
    "\x85", "\x85a", "a\x85\x85b", "\xa0", "\xa0a", "a\xa0b", "\xa0\xa0 a", "\u1680", "\u180e", "a\u180eb", "\u2000\u2001\u2002",
    "\u2028", "\u2029", "a\u2028b", "\u202f", "\u205f", "\u3000", "\u3000\u3000a", "a\u3000\u3000b", "\ufeff", "\ufeffa", "a\ufeff",
    "\u200b", "a\u200bb", "\u200c\u200d", "\u2060", "\ufffd", "\ufffd\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\U0001ffff",
    "\ue000\uf8ff", "\U000f0000", "\u0300", "\u0301a", "a\u0301", "e\u0301", "\u00e9", "a\u0316\u0301", "a\u0301\u0316",
    "q\u0307\u0323", "q\u0323\u0307", "\u1e0b\u0323", "\u0344", "\u0390", "\u1fd3", "\u212b", "\u00c5", "A\u030a", "\u2126",
    "\u03a9", "\ufb01", "\ufb03", "\ufb05", "ﷺ", "\u1100\u1161\u11a8", "\uac01", "각", "\u1100\uac00", "\u3131", "\uffa1", "ｱｲｳ",
    "ＡＢＣ１２３", "①②③", "ⅣⅧ", "½¼¾", "²³¹", "x²+y³", "1/2", "٣٤٥", "१२३", "๑๒๓", "𝟘𝟙𝟚", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𝓗𝓮𝓵𝓵𝓸", "㍿", "㎏", "㋿", "℡™℠",
    "日本語", "日本語 テスト", "こんにちは世界", "漢字かな交じり文", "中文字符，标点。", "你好，世界！", "繁體中文", "한국어 텍스트", "안녕하세요 세계",
    "Привет, мир!", "Ελληνικά", "עברית", "שלום עולם", "العربية", "مرحبا بالعالم", "\u202eabc\u202c", "\u200fabc\u200e", "abc אבג 123",
    "हिन्दी", "नमस्ते दुनिया", "বাংলা", "தமிழ்", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "ไทย", "ภาษาไทย", "ລາວ", "မြန်မာ", "ខ្មែរ", "ქართული",
    "Հայերեն", "አማርኛ", "ᏣᎳᎩ", "ᐃᓄᒃᑎᑐᑦ", "ᚠᚢᚦ", "𐌰𐌱𐌲", "𐎀𐎁", "𓀀𓀁", "𒀀𒁀", "𠀀𠀁", "𪚥", "\U00030000", "\U00031350", "\U0002ebf0",
    "\u1c89\u1c8a", "\U00010d40\U00010d4a", "\U000105c0", "Việt Nam", "Tiếng Việt", "Türkçe İıĞğ", "Íslenska þð", "Łódź", "Straße", "STRASSE",
    "ǅ ǈ ǋ", "ʰʲˠ", "ªº", "ـــ", "〇", "々", "ー", "😀", "😀😀", "😀 😀", "👍🏽", "👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦 family", "🏳️‍🌈", "🇩🇪🇫🇷", "🇩", "1️⃣2️⃣", "☺️", "☺",
    "❤️‍🔥", "a😀b", "😀a", " 😀", "  😀  ", "🧑🏿‍🚀", "♠♥♦♣", "→←↑↓", "∀x∈ℝ: ∃y", "∑∫∂", "½ × ¾", "“quoted” ‘single’", "—–-", "…", "·•", "€£¥₿",
    "!", "!!", "?!", "...", "....", "---", "----------------", "===", "###", "# Title", "## Sub\n\ntext", "* a\n* b", "- [ ] x",
    "`code`", "```python\nprint('hi')\n```", "def f(x):\n    return x + 1\n", "if (a && b) { c(); }", "int main(void)\n{\n\treturn 0;\n}\n",
    "<html><body>x</body></html>", "&amp;&lt;", "a=b;c=d", "a_b_c", "snake_case camelCase PascalCase", "x->y::z", "$100.00", "100%", "50€",
    "1,234,567.89", "3.14159", "1e-10", "0x1F", "192.168.0.1", "2024-01-31T12:34:56Z", "+1 (555) 123-4567", "a@b.co", "https://example.org/a?b=c&d=e#f",
    "C:\\Windows\\x", "/usr/bin/env", "\\n\\t", "\"\"", "\"a\"", "(a)", "((a))", "[a]", "{a}", "a.b", "a. b", "a .b", "a,b", "a , b",
    "word" * 20, "ab" * 40, "a b " * 20, "aaaa", "a" * 100, "A" * 65, " " * 65, " " * 200, "\n" * 70, "\t" * 33, "1" * 100, "12" * 50, "-" * 130, "." * 99,
    "é" * 70, "漢" * 70, "😀" * 33, "\u0301" * 40, "a\u0301" * 40, "\u0316\u0301" * 30, "\u0301\u0316" * 30, " a" * 50, "a " * 50, "\na" * 50, "\n " * 50,
    " \n" * 50, "x" + " " * 100 + "y", "x" + "\n" * 100 + "y", " " * 7 + "\n" + " " * 9 + "z", "The quick brown fox jumps over the lazy dog.",
    "the quick brown fox", "THE QUICK BROWN FOX", "Once upon a time, there was a little girl named Lily.", "supercalifragilisticexpialidocious",
    "antidisestablishmentarianism", "Donaudampfschifffahrtsgesellschaft", "I   have    many     spaces", "trailing ", "trailing  ", " leading", "  leading",
    "mixed\u3000width\u00a0spaces\u2003here", "tab\tseparated\tvalues", "line1\nline2\nline3", "line1\r\nline2\r\n", "para1\n\npara2\n\n\npara3",
    "UPPER lower MiXeD", "ALL CAPS WITH 123 NUMBERS", "ünïcödé", "naïve café résumé", "na\u0131ve", "ÅÄÖåäö", "ÀÈÌÒÙ", "Ｆｕｌｌ　Ｗｉｄｔｈ", "ﾊﾝｶｸ ｶﾀｶﾅ",
    "ﾊﾞﾋﾟ", "が", "か\u3099", "は\u309a", "ﾞ", "㌔", "㍉㍑", "㈱", "１２３ＡＢＣａｂｃ", "～", "〜", "‥…", "「引用」", "『』【】", "。、・", "！？：；",
]

# Bytes that are not UTF-8. SentencePiece takes them; for the others Python replaces them by U+FFFD.
INVALID = [
    b"\xff", b"\xfe\xff", b"a\xffb", b"\x80", b"\xc3", b"\xc3(", b"\xa0\xa1", b"\xe2\x82", b"\xe2(\xa1", b"\xe2\x82(", b"\xf0\x9f\x98",
    b"\xf0(\x8c\xbc", b"\xf0\x90(\xbc", b"\xf0\x28\x8c\x28", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf8\x88\x80\x80\x80",
    b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"ok \xe2\x96 \x81", b"\xe2\x96\x81\xe2\x96", b"\xc3\xa9\xc3", b"x\xc2", b"\xefbb\xbf", b"\xef\xbf\xbd\xef\xbf",
    b"hello \xf0\x9f\x98\x80 \xf0\x9f world", b"\xff\xff\xff\xff", b" \xff ", b"\xff \xff", b"\x00\xff\x00",
]


def fixed():
    """Every valid text once, in order."""
    return list(dict.fromkeys(LLAMA_CPP + SPECIAL + ODD))


BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF),
    (0x900, 0xDFF), (0xE00, 0xEFF), (0x1000, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF),
    (0x3130, 0x33FF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xE0FF), (0xF900, 0xFFFF), (0x10000, 0x10FFF), (0x11000, 0x12FFF),
    (0x16000, 0x18FFF), (0x1D000, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF),
]
WORDS = ("the of and to in a is that it was for on are with as his they be at one have this from or had by not but what all "
         "were when we there can an your which their said if do will each about how up out them then she many some so these would "
         "other into has more her two like him see time could no make than first been its who now people my made over did down "
         "New York's user@example.org I've can't won't they'll we'd I'm it's 'Tis rock'n'roll 1984 3.14 2,000 x=y+1; f(x) {a: 1} "
         "Straße café naïve Привет мир 日本語 中文 한국어 שלום مرحبا हिन्दी 😀 👍🏽 👨‍👩‍👧‍👦 e\u0301 \u00e9 ﬁ ½ ² Ⅳ").split(" ")
GLUE = [" ", " ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "", "", ", ", ". ", "-", "_", "\u3000", "\u00a0", "\n    ", "▁"]


def random_text(r, special):
    """One text of up to some hundred characters, of one of several makes."""
    kind = r.random()
    if kind < 0.40:
        return "".join(r.choice(WORDS) + r.choice(GLUE) for _ in range(r.randint(1, 25)))
    if kind < 0.60:
        low, high = r.choice(BLOCKS)
        return "".join(chr(r.randint(low, high)) + (r.choice(GLUE) if r.random() < 0.15 else "") for _ in range(r.randint(1, 60)))
    if kind < 0.75:
        return "".join(chr(r.randint(*r.choice(BLOCKS))) for _ in range(r.randint(1, 40)))
    if kind < 0.85:
        return "".join(r.choice(["a", "b", " ", "\n", "1", "é", "漢", "'", "s", "\u0301", "▁", ".", "\t"]) * r.choice([1, 1, 1, 2, 3, 8, 40])
                       for _ in range(r.randint(1, 20)))
    if kind < 0.95:
        return "".join(r.choice(special) + r.choice(GLUE + WORDS[:40]) for _ in range(r.randint(1, 8)))
    return "".join(r.choice(fixed_cache()) for _ in range(r.randint(2, 4)))


_fixed = []


def fixed_cache():
    if not _fixed:
        _fixed.extend(fixed())
    return _fixed


def random_texts(count, seed, special):
    r = random.Random(seed)
    out = []
    while len(out) < count:
        text = random_text(r, special)
        if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            out.append(text)
    return out


def random_bytes(count, seed):
    """Byte strings: mostly text with some bytes struck out or changed."""
    r = random.Random(seed)
    out = []
    for text in random_texts(count, seed, SPECIAL):
        b = bytearray(text.encode())
        for _ in range(r.randint(1, 4)):
            if b and r.random() < 0.5:
                del b[r.randrange(len(b))]
            else:
                b.insert(r.randint(0, len(b)), r.randint(0x80, 0xFF))
        out.append(bytes(b))
    return out
