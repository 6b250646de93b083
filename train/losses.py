"""The losses that a recipe can name."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.cross_encoder import fit_mixin
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.util import batch_to_device, fullname
from torch import nn

from train.base import activation_module
from train.recipe import Loss


class FitMixinLoss(fit_mixin.FitMixinLoss):  # type: ignore[misc,unused-ignore]
    """The loss of `CrossEncoder.fit`: any torch loss on activated logits and labels.

    The class of sentence-transformers 5.7 calls the model with keywords, which its own CrossEncoder no longer takes
    ("forward() missing 1 required positional argument"); this one calls it as the other losses do.
    """

    def forward(
        self, inputs: Sequence[Sequence[str]], labels: torch.Tensor, prompt: str | None = None, task: str | None = None
    ) -> torch.Tensor:
        """The loss of one batch: `inputs` are its queries and its documents, `labels` float of shape [batch]."""
        features = self.model.preprocess(list(zip(*inputs, strict=True)), prompt=prompt, task=task)
        logits = self.model(batch_to_device(features, self.model.device))["scores"].view(-1)
        loss: torch.Tensor = self.loss_fct(self.activation_fn(logits), labels.float())
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card shows of it."""
        return {"loss_fct": fullname(self.loss_fct), "activation_fn": fullname(self.activation_fn)}


def make_loss(model: Any, wanted: Loss) -> nn.Module:
    """The loss of a recipe on a `CrossEncoder`."""
    activation = activation_module(wanted.activation)
    if wanted.name == "fit":
        return FitMixinLoss(model, nn.BCEWithLogitsLoss(), activation_fn=activation)
    loss: nn.Module = BinaryCrossEntropyLoss(model, activation_fn=activation)
    return loss
