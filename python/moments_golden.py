"""What bitsandbytes keeps of the moments of an optimizer in 8 bits: `moments.safetensors`.

The two dynamic maps, and a gradient with the codes and scales of its first and second moment. Where both betas are 0,
the moments are the gradient and its square. As in bitsandbytes' kernel for GPUs, a first moment keeps its sign: where
the nearest code has a value of another sign, it is the next code.

Values are given in f64, for which bitsandbytes computes in f32 with its portable code: its code for f32 on a CPU looks
codes up in a table of 65536 steps, and misses the nearest one at times.
"""

from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file

SEED = 20251130
BLOCK = 256
# More than the 4096 values from which moments are in 8 bits, with a part of a block at the end.
SHAPE = (52, 81)


def gradient(generator: torch.Generator) -> torch.Tensor:
    """Values over several orders of magnitude."""
    return torch.randn(SHAPE, generator=generator) * 10 ** (-8 * torch.rand(SHAPE, generator=generator))


def quantised(values: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales by the portable code of bitsandbytes."""
    return torch.ops.bitsandbytes.quantize_blockwise.default(values.double(), code, BLOCK)


def with_signs(codes: torch.Tensor, values: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """The codes after the rule for signs."""
    differs = torch.signbit(code[codes.long()]) != torch.signbit(values)
    step = torch.where(values > 0, 1, -1)
    return torch.where(differs, codes.long() + step, codes.long())


def generate(out: Path) -> None:
    """Write `moments.safetensors`."""
    signed, unsigned = bnb.create_dynamic_map(signed=True), bnb.create_dynamic_map(signed=False)
    first = gradient(torch.Generator().manual_seed(SEED))
    second = first * first
    codes_1, absmax_1 = quantised(first, signed)
    codes_2, absmax_2 = quantised(second, unsigned)
    arrays = {
        "signed": signed,
        "unsigned": unsigned,
        "grad": first,
        "exp_avg": with_signs(codes_1, first, signed).float(),
        "exp_avg_absmax": absmax_1,
        "exp_avg_sq": codes_2.float(),
        "exp_avg_sq_absmax": absmax_2,
    }
    save_file({name: array.contiguous() for name, array in arrays.items()}, out / "moments.safetensors")
