"""The tokenizer of llama2.c (run.c: encode, decode), written again in Python from its description: the slow way, one
merge at a time over the whole list. Pieces are byte strings."""
import struct


class Llama2c:
    def __init__(self, path, vocab=None):
        data = open(path, "rb").read()
        self.pieces, self.scores, at = [], [], 4
        while at < len(data) and (vocab is None or len(self.pieces) < vocab):
            score, length = struct.unpack_from("<fI", data, at)
            self.pieces.append(data[at + 8:at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        self.id = {}
        for i, piece in enumerate(self.pieces):
            assert piece not in self.id, f"piece {i} is told twice"
            self.id[piece] = i

    def encode(self, text):
        """Ids of a byte string without BOS."""
        tokens = [self.id[b" "]] if text else []
        at = 0
        while at < len(text):
            end = at + 1
            while end < len(text) and end - at < 4 and text[end] & 0xC0 == 0x80:
                end += 1
            character = text[at:end]
            tokens += [self.id[character]] if character in self.id else [b + 3 for b in character]
            at = end
        while True:
            best, where = -1e10, None
            for i in range(len(tokens) - 1):
                joined = self.id.get(self.pieces[tokens[i]] + self.pieces[tokens[i + 1]])
                if joined is not None and self.scores[joined] > best:
                    best, where, result = self.scores[joined], i, joined
            if where is None:
                return tokens
            tokens[where:where + 2] = [result]

    def decode(self, ids):
        """Bytes of what run.c prints for BOS followed by ids, special pieces left out."""
        out, previous = b"", 1
        for i in ids:
            piece = self.pieces[i]
            if previous == 1 and piece.startswith(b" "):
                piece = piece[1:]
            if len(piece) == 6 and piece.startswith(b"<0x"):
                piece = bytes([int(piece[3:5], 16)])
            out += b"" if i in (1, 2) else piece
            previous = i
        return out
