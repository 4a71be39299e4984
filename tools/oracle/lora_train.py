"""Golden runs of training adapters: tests/data/golden/train/lora_<run>.txt, as tools/oracle/train.py makes for whole models.

    python tools/oracle/lora_train.py

y = W x + alpha / rank * B (A x) on every target, W frozen; tensors with "embed" or "norm" in their name train as well
where a run says so (LongLoRA's LoRA+). A and B start from random numbers in lora_<run>_start.f32.bin, at the offsets of
the "parameter" lines, where tensors that train whole have their values of the checkpoint. The rest is as in train.py:
AdamW with decay on matrices, warm-up, clipping over all gradients, float64 as the reference.
"""
import numpy as np
import torch

from double import default_double, double_model, file_name
from golden import GOLDEN, write_array, write_record
from train import CLIP, DECAY, PEAK, WARMUP, tiny, train

# run -> (checkpoint, targets, rank, alpha, whole, steps, rows, length)
RUNS = {
    "llama": ("llama", ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj"), 4, 8, ("embed", "norm"), 20, 2, 48),
    "phi3": ("phi3", ("qkv_proj", "gate_up_proj"), 3, 6, (), 5, 2, 48),
    "gpt2": ("gpt2", ("c_attn", "attn.c_proj"), 4, 4, ("ln_",), 5, 2, 48),
    "gpt_neox": ("gpt_neox", ("query_key_value", "dense_h_to_4h"), 2, 4, (), 5, 2, 48),
}


class Adapted(torch.nn.Module):
    def __init__(self, base, into, out, rank, scale, generator):
        super().__init__()
        self.base, self.scale = base, scale
        self.lora_A = torch.nn.Parameter((torch.randn(rank, into, generator=generator, dtype=torch.float64) / into ** 0.5)
                                         .float().double())
        self.lora_B = torch.nn.Parameter((0.1 * torch.randn(out, rank, generator=generator, dtype=torch.float64))
                                         .float().double())

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.lora_A.T) @ self.lora_B.T


def adapt(model, state, targets, rank, scale, whole):
    generator = torch.Generator().manual_seed(5)
    for name, p in model.named_parameters():
        p.requires_grad_(any(part in name for part in whole))
    for name, module in list(model.named_modules()):
        if not any(name == t or name.endswith("." + t) for t in targets):
            continue
        shape = module.weight.shape
        out, into = shape if isinstance(module, torch.nn.Linear) else shape[::-1]
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, Adapted(module, into, out, rank, scale, generator))
    return model


def main():
    for run, (folder, targets, rank, alpha, whole, steps, rows, length) in RUNS.items():
        config, state, ids = tiny(folder)
        generator = np.random.default_rng(11)
        begin = generator.integers(0, len(ids) - length, (steps, rows))
        batches = np.array([[ids[b:b + length + 1] for b in step] for step in begin], dtype=np.int64)
        with default_double():
            model = adapt(double_model(config, state), state, targets, rank, alpha / rank, whole)
            start = {n: p.detach().numpy().copy() for n, p in model.named_parameters() if p.requires_grad}
            exact, gradient, norms = train(model, batches)
        lines = [f"steps {steps}", f"rows {rows}", f"length {length}", f"peak {PEAK}", f"warmup {WARMUP}",
                 f"clip {CLIP}", f"decay {DECAY}", f"rank {rank}", f"alpha {alpha}", f"targets {','.join(targets)}",
                 f"trainable {','.join(whole) or '-'}"]
        write_array(GOLDEN / f"train/lora_{run}_batch", batches, "i32")
        write_array(GOLDEN / f"train/lora_{run}_start", np.concatenate([v.ravel() for v in start.values()]), "f32")
        write_array(GOLDEN / f"train/lora_{run}_gradient", np.concatenate([v.ravel() for v in gradient.values()]), "f32")
        lines.append("# step, lr, loss, norm in float64")
        lines += [f"step {i} {a[0]:.8g} {a[1]:.9f} {a[2]:.9g}" for i, a in enumerate(exact)]
        lines.append("# parameter, offset, norm after the last step, dimensions")
        offset = 0
        for name, g in gradient.items():
            shape = " ".join(map(str, g.shape))
            lines.append(f"parameter {file_name(config, name)} {offset} {norms[name]:.9g} {shape}")
            offset += g.size
        write_record(GOLDEN / f"train/lora_{run}.txt", "lora_train.py", lines)
        print(f"{run}: loss {exact[0][1]:.6f} -> {exact[-1][1]:.6f}, {len(gradient)} parameters, {offset} values")


if __name__ == "__main__":
    main()
