"""The precision and the device that a training runs with."""

from typing import Literal, TypeAlias

import torch

from crossrank.machine import cpu_flags
from crossrank.train.recipe import Training

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]


def usable_precision(wanted: Training) -> Precision:
    """The precision that a run gets: what the recipe asks for, or fp32 where the device lacks it.

    fp16 needs a GPU; bf16 needs one that has it, or a CPU with avx512_bf16 or amx_bf16, since others only imitate it.
    """
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        bf16 = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    if wanted.bf16 and bf16:
        return "bf16"
    return "fp16" if wanted.fp16 and torch.cuda.is_available() else "fp32"


def device_name() -> str:
    """The device of a run, for reports."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
