"""Transformers models that compute in double precision throughout.

model.double() is not enough: the RMS norm, the rotary tables and the eager softmax cast to float32 whatever the weights
are. Here the source text of the same installed modules is read again with every float32 spelled float64, so the
arithmetic stays that of Transformers and only the width changes. Attention is always the eager code.
"""
import contextlib
import importlib.util
import re
import sys
import types

import torch
import transformers
from transformers.initialization import no_init_weights

SUFFIX = "_f64"


def _rewrite(source):
    source = re.sub(r"\btorch\.float(32)?\b", "torch.float64", source)
    source = re.sub(r"\.float\(\)", ".double()", source)
    return source.replace("modeling_rope_utils import", f"modeling_rope_utils{SUFFIX} import")


def _module(name):
    """The module `name` with float32 replaced by float64, under the name `name`_f64."""
    if name + SUFFIX in sys.modules:
        return sys.modules[name + SUFFIX]
    spec = importlib.util.find_spec(name)
    module = types.ModuleType(name + SUFFIX)
    module.__package__ = spec.parent
    module.__file__ = spec.origin
    sys.modules[module.__name__] = module
    exec(compile(_rewrite(spec.loader.get_source(name)), spec.origin, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def default_double():
    """Python numbers that meet integer tensors (dynamic scaling) become float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
           "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gpt_neox": "GPTNeoXForCausalLM",
           "gpt2": "GPT2LMHeadModel"}


def model_names(state):
    """Tensor names of files as the models of Transformers 5 have them: GPT-NeoX's head was renamed between the two."""
    return {"lm_head.weight" if name == "embed_out.weight" else name: value for name, value in state.items()}


def file_name(config, name):
    return "embed_out.weight" if config.model_type == "gpt_neox" and name == "lm_head.weight" else name


def double_class(config):
    _module("transformers.modeling_rope_utils")
    name = config.model_type
    return getattr(_module(f"transformers.models.{name}.modeling_{name}"), CLASSES[name])


def single_class(config):
    return getattr(transformers, CLASSES[config.model_type])


def double_model(config, state):
    """A float64 model in eval mode from a config and a state dict of any float type (values are kept exactly)."""
    config._attn_implementation = "eager"
    # Without initialisation: it would put float32 rotary tables into the buffers again.
    with default_double(), no_init_weights():
        model = double_class(config)(config)
    model.load_state_dict({name: value.double() for name, value in state.items()}, strict=True)
    model.tie_weights()
    assert model.config._attn_implementation == "eager"
    for name, value in list(model.named_parameters()) + list(model.named_buffers()):
        assert not value.is_floating_point() or value.dtype == torch.float64, name
    return model.eval()


def double_logits(config, state, ids):
    """All logits [len(ids), vocab] of one pass. A fresh model each time, as rotary tables may depend on length."""
    model = double_model(config, state)
    with torch.no_grad(), default_double():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    assert logits.dtype == torch.float64
    return logits.numpy()


def single_logits(model_class, config, state, ids):
    """The same with the installed float32 code, unchanged: the yardstick for how far float32 may be from the above."""
    config._attn_implementation = "eager"
    model = model_class(config)
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    model.tie_weights()
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0].numpy()
