"""What Transformers computes from the folders that `furlong extend` writes, also beyond the trained window.

    python tools/oracle/extended.py FURLONG       with the program furlong; the same bytes for the same versions

Each method of METHODS stretches tests/data/tiny/llama (window 128) fourfold. The config that furlong writes is kept as
tests/data/tiny/extend_<method>.json and the float64 logits that Transformers gives for that folder, last rows for 64 and
for 300 ids, as tests/data/golden/tiny/extend_<method>.*. The weights must be those of the original to the bit.
"""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from double import double_logits
from golden import GOLDEN, TINY, write_array, write_record
from tiny import BEYOND, LONG_FACTOR, SHORT_FACTOR, VOCAB

SCALE = ["--rope-scale", "4"]
METHODS = {name: ["--rope-scaling", name] + SCALE for name in (
    "linear", "ntk", "ntk-parts", "ntk-linear", "dynamic", "yarn", "llama3", "mixed-radix", "power", "truncated")}
METHODS["base"] = ["--rope-freq-base", "160000"]
LENGTHS = (64, BEYOND)


def main(furlong):
    factors = TINY / "longrope_factors.json"
    factors.write_text(json.dumps({"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 128,
                                   "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}) + "\n")
    METHODS["longrope"] = ["--longrope-factors", str(factors)]
    ids = np.fromfile(GOLDEN / "tiny/ids.i32.bin", "<i4").tolist()
    plain = load_file(TINY / "llama/model.safetensors")
    for method, flags in METHODS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out"
            subprocess.run([furlong, "extend", "-m", TINY / "llama", "-o", out] + flags, check=True,
                           stdout=subprocess.DEVNULL)
            config, state = AutoConfig.from_pretrained(out), load_file(out / "model.safetensors")
            text = (out / "config.json").read_text()
        assert state.keys() == plain.keys() and all(torch.equal(state[name], plain[name]) for name in plain), method
        rows = np.concatenate([double_logits(copy.deepcopy(config), state, ids[:n])[-1:] for n in LENGTHS])
        (TINY / f"extend_{method}.json").write_text(text)
        file = write_array(GOLDEN / "tiny" / f"extend_{method}", rows, "f64")
        lines = ["# float64 logits [rows, vocab] of the folder that furlong extend wrote", f"flags {' '.join(flags[:4])}",
                 f"vocab {VOCAB}", f"rows {len(LENGTHS)}", "row_length " + " ".join(map(str, LENGTHS)),
                 "row_position " + " ".join(str(n - 1) for n in LENGTHS), f"logits {file}"]
        if method == "longrope":
            lines[1] = "flags --longrope-factors longrope_factors.json"
        write_record(GOLDEN / "tiny" / f"extend_{method}.txt", "extended.py", lines)
        known = np.fromfile(GOLDEN / "tiny/llama.f64.bin", "<f8").reshape(-1, VOCAB)
        print(f"{method:12} differs from the unstretched by {np.abs(rows[1] - known[-1]).max():.3f} at {BEYOND}, "
              f"{np.abs(rows[0] - known[-3]).max():.3g} at {LENGTHS[0]}")
        assert np.abs(rows[1] - known[-1]).max() > 0.1, method


if __name__ == "__main__":
    main(sys.argv[1])
