"""The losses that a recipe can name; all but two are those of sentence-transformers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from sentence_transformers.cross_encoder import fit_mixin, losses
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


class CrossEntropyLoss(losses.MultipleNegativesRankingLoss):  # type: ignore[misc,unused-ignore]
    """Softmax cross-entropy of a relevant document against its own negatives, none of the batch.

    Localized contrastive estimation (Gao, Dai and Callan 2021, "Rethink Training of BERT Rerankers in Multi-Stage
    Retrieval Pipeline"). The `CrossEntropyLoss` of sentence-transformers is for classes, of which a ranker has none.
    """

    def get_in_batch_negatives(self, anchors: Sequence[str], candidates: Sequence[Sequence[str]]) -> Iterator[Any]:
        """None."""
        return iter(())


def make_loss(model: Any, wanted: Loss) -> nn.Module:
    """The loss of a recipe on a `CrossEncoder`."""
    activation = activation_module(wanted.activation)
    kind, arguments = _KINDS[wanted.name](wanted)
    loss: nn.Module = kind(model, activation_fn=activation, **arguments)
    return loss


def _binary_cross_entropy(wanted: Loss) -> tuple[Any, dict[str, Any]]:
    weight = None if wanted.pos_weight is None else torch.tensor(wanted.pos_weight)
    return losses.BinaryCrossEntropyLoss, {"pos_weight": weight}


def _multiple_negatives(wanted: Loss) -> dict[str, Any]:
    return {"num_negatives": wanted.in_batch_negatives, "scale": wanted.scale}


_KINDS: dict[str, Any] = {
    "binary_cross_entropy": _binary_cross_entropy,
    "fit": lambda wanted: (FitMixinLoss, {"loss_fct": nn.BCEWithLogitsLoss()}),
    "mse": lambda wanted: (losses.MSELoss, {}),
    "margin_mse": lambda wanted: (losses.MarginMSELoss, {}),
    "cross_entropy": lambda wanted: (CrossEntropyLoss, {"scale": 1.0}),
    "multiple_negatives_ranking": lambda wanted: (losses.MultipleNegativesRankingLoss, _multiple_negatives(wanted)),
    "cached_multiple_negatives_ranking": lambda wanted: (
        losses.CachedMultipleNegativesRankingLoss,
        {**_multiple_negatives(wanted), "mini_batch_size": wanted.mini_batch_size},
    ),
    "lambda_loss": lambda wanted: (losses.LambdaLoss, {"mini_batch_size": wanted.mini_batch_size}),
    "list_net": lambda wanted: (losses.ListNetLoss, {"mini_batch_size": wanted.mini_batch_size}),
    "list_mle": lambda wanted: (
        losses.ListMLELoss,
        {"mini_batch_size": wanted.mini_batch_size, "respect_input_order": False},
    ),
    "rank_net": lambda wanted: (losses.RankNetLoss, {"mini_batch_size": wanted.mini_batch_size}),
}
