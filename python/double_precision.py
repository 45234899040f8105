"""Makes a transformers decoder compute everything in f64; by default, normalisation and rotation stay in f32."""

import inspect
import sys
import textwrap
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


def rms_norm(module: nn.Module, x: Tensor) -> Tensor:
    """An RMS norm without its cast; Gemma and Qwen3.5 keep their weights minus 1, but Gemma 4 does not."""
    kind = type(module).__name__
    from_one = kind.startswith(("Gemma", "Qwen3_5")) and not kind.startswith("Gemma4")
    epsilon = module.eps if kind.startswith(("Gemma", "Qwen3_5")) else module.variance_epsilon
    weight = getattr(module, "weight", 1.0)
    if from_one:
        weight = 1.0 + weight
    return weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon)


def rotation(inv_freq: Tensor, positions: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch, seq, head_dim] of the halves convention."""
    angles = positions.double()[:, :, None] * inv_freq.double()
    angles = torch.cat([angles, angles], -1)
    return angles.cos() * scaling, angles.sin() * scaling


def rotary_forward(rotary: nn.Module):
    """The forward of a rotary embedding, in f64: one set of frequencies, or one for each type of layer."""
    if isinstance(rotary.rope_type, dict):
        kinds = {
            t: (getattr(rotary, f"{t}_inv_freq").clone(), getattr(rotary, f"{t}_attention_scaling"))
            for t in rotary.layer_types
        }

        def forward(_x: Tensor, position_ids: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
            inv_freq, scaling = kinds[layer_type]
            return rotation(inv_freq, position_ids, scaling)

        return forward
    inv_freq, scaling = rotary.inv_freq.clone(), rotary.attention_scaling

    def forward(_x: Tensor, position_ids: Tensor, **_) -> tuple[Tensor, Tensor]:
        if position_ids.ndim == 3:  # three axes, with the same positions in text
            position_ids = position_ids[0]
        if rotary.rope_type in ("dynamic", "longrope"):
            of_length = ROPE_INIT_FUNCTIONS[rotary.rope_type]
            now, _ = of_length(rotary.config, "cpu", seq_len=int(position_ids.max()) + 1)
            return rotation(now, position_ids, scaling)
        return rotation(inv_freq, position_ids, scaling)

    return forward


def router_forward(router: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The router of a sparse block without its cast: logits, weights and indices of each token's experts."""
    logits = x.reshape(-1, x.shape[-1]) @ router.weight.T
    weights, chosen = torch.softmax(logits, -1).topk(router.top_k, -1)
    if router.norm_topk_prob:
        weights = weights / weights.sum(-1, keepdim=True)
    return logits, weights, chosen


def expert_by_expert(model: PreTrainedModel) -> PreTrainedModel:
    """Compute experts one after the other: the default product of all of them takes neither f64 nor every width."""
    model.config._experts_implementation = "eager"
    return model


def without_casts(function: Callable) -> Callable:
    """A function of transformers that computes in f64 where it casts to f32."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    source = source[source.index("def ") :].replace("torch.float32", "torch.float64").replace(".float()", ".double()")
    found: dict[str, Callable] = {}
    exec(source, vars(sys.modules[function.__module__]), found)  # noqa: S102
    return found[function.__name__]


def by_dtype(narrow: Callable) -> Callable:
    """The function itself, and without casts for a first argument in f64."""
    wide = without_casts(narrow)

    def chosen(query: Tensor, *args, **kwargs):
        return (wide if query.dtype == torch.float64 else narrow)(query, *args, **kwargs)

    chosen.is_by_dtype = True
    return chosen


def delta_net_to_f64(module: nn.Module) -> None:
    """Linear attention: its forward pass, its norm, and the rules that it calls by their names."""
    module.forward = types.MethodType(without_casts(type(module).forward), module)
    module.norm.forward = types.MethodType(without_casts(type(module.norm).forward), module.norm)
    code = sys.modules[type(module).__module__]
    for name in ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"):
        if not hasattr(getattr(code, name), "is_by_dtype"):
            setattr(code, name, by_dtype(getattr(code, name)))


def to_f64(model: PreTrainedModel) -> PreTrainedModel:
    """Convert the weights, and replace modules that cast to f32. Returns the same object."""
    rotary = model.model.rotary_emb
    forward = None if rotary is None else rotary_forward(rotary)
    expert_by_expert(model).double()
    if rotary is not None:
        rotary.forward = forward
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, m=module: rms_norm(m, x)
        if type(module).__name__.endswith("TopKRouter"):
            module.forward = lambda x, m=module: router_forward(m, x)
        if type(module).__name__.endswith("GatedDeltaNet"):
            delta_net_to_f64(module)
    return model
