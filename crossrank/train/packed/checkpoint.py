"""The state of a packed run, in one safetensors file that takes its name when it is whole."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from crossrank.train.packed.encoder import UnpaddedEncoder


@dataclass(slots=True)
class State:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        model: what learns.
        optimizer: its optimiser.
        average: the mean of the weights of the last part of the run.
        step: steps done.
        averaged: how many weights are in the average.
        seconds: time spent on steps.
    """

    model: UnpaddedEncoder
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0
    averaged: int = 0
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """Writes everything beside `path`, then replaces it."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.average.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
        facts = {name: str(getattr(self, name)) for name in ("step", "averaged", "seconds")}
        partial = path.with_suffix(".partial")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, facts)
        partial.replace(path)

    def read(self, path: Path) -> None:
        """Takes over what `write` wrote."""
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        self.model.load_state_dict(_below("model/", stored))
        for name, tensor in _below("average/", stored).items():
            self.average[name].copy_(tensor)
        state = self.optimizer.state_dict()
        for name, tensor in _below("optimizer/", stored).items():
            number, key = name.split("/")
            state["state"].setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.step, self.averaged = int(facts["step"]), int(facts["averaged"])
        self.seconds = float(facts["seconds"])

    def include(self) -> None:
        """Takes the weights of now into the average."""
        self.averaged += 1
        for name, tensor in self.model.state_dict().items():
            self.average[name].lerp_(tensor, 1 / self.averaged)


def _below(prefix: str, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
