"""Distributed training: several processes of one run, as `torchrun` or `accelerate launch` starts them."""

import os
from datetime import timedelta

import torch
from accelerate import PartialState


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the process that reads the data, evaluates and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def barrier() -> None:
    """Waits until every process is here."""
    if world_size() > 1:
        # The others wait while the first one mines, scores and evaluates, which may take hours.
        PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1)).wait_for_everyone()
