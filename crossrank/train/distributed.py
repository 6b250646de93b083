"""Several processes of one run, as `torchrun` or `accelerate launch` starts them: the first one prepares and writes."""

import os
from datetime import timedelta

import torch
from accelerate import PartialState


def count() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that reads the data, evaluates and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Waits until every process is here."""
    if count() > 1:
        # The others wait while the first one mines, scores and evaluates, which may take hours.
        PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1)).wait_for_everyone()
