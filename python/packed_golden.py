"""What bitsandbytes makes of weights in 8 and 4 bits: `packed.safetensors`.

Each case holds a weight, and its values after it was quantised and dequantised: by the rows of `Linear8bitLt`, without its
path for outliers, and as NF4 with double quantisation, as QLoRA does.

Weights are bf16, as in checkpoints: so the sum of the scales is exact in any order.
"""

from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file

SEED = 20251129
# Whole blocks of 64; a part of one; one weight; more than 256 blocks, with rows that end within a block.
SHAPES = {"even": (24, 128), "odd": (7, 9), "one": (1, 1), "groups": (64, 301)}


def weight(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Normal values of the size of a model's weights, with one row of zeros."""
    values = torch.randn(shape, generator=generator) * 0.03
    if shape[0] > 2:
        values[2] = 0
    return values.bfloat16().float()


def int8(weight: torch.Tensor) -> torch.Tensor:
    """The values of int8 rows."""
    codes, scales, _ = bnb.int8_vectorwise_quant(weight)
    return bnb.int8_vectorwise_dequant(codes, scales)


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """The values of NF4 with double quantisation."""
    packed, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    return bnb.dequantize_4bit(packed, state).reshape(weight.shape)


def generate(out: Path) -> None:
    """Write `packed.safetensors`."""
    generator = torch.Generator().manual_seed(SEED)
    arrays = {}
    for name, shape in SHAPES.items():
        values = weight(shape, generator)
        arrays |= {f"{name}.weight": values, f"{name}.int8": int8(values), f"{name}.nf4": nf4(values)}
    save_file({name: array.contiguous() for name, array in arrays.items()}, out / "packed.safetensors")
