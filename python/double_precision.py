"""Makes a transformers Llama compute in f64 throughout; by itself it keeps normalisation and rotation in f32."""

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM


def rms_norm(module: nn.Module, x: Tensor) -> Tensor:
    """`LlamaRMSNorm` without its cast."""
    return module.weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + module.variance_epsilon)


def rotation(inv_freq: Tensor, positions: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch, seq, head_dim] of the halves convention."""
    angles = positions.double()[:, :, None] * inv_freq.double()
    angles = torch.cat([angles, angles], -1)
    return angles.cos() * scaling, angles.sin() * scaling


def to_f64(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Convert the weights and replace what casts to f32; the same object comes back."""
    rotary = model.model.rotary_emb
    inv_freq, scaling = rotary.inv_freq.clone(), rotary.attention_scaling
    model.double()
    rotary.forward = lambda _x, position_ids, **_: rotation(inv_freq, position_ids, scaling)
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = lambda x, m=module: rms_norm(m, x)
    return model
