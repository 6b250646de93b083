"""The losses that a recipe can name; all but two are those of sentence-transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.cross_encoder import fit_mixin, losses
from sentence_transformers.util import batch_to_device, fullname
from torch import nn

from crossrank.models.cross_encoder import activation_module
from crossrank.train.recipe import Loss


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


class CrossEntropyLoss(nn.Module):
    """Softmax cross-entropy of a relevant document against its own negatives, none of the batch.

    Localized contrastive estimation (Gao, Dai and Callan 2021, "Rethink Training of BERT Rerankers in Multi-Stage
    Retrieval Pipeline"). The `CrossEntropyLoss` of sentence-transformers is for classes, of which a ranker has none.
    """

    def __init__(self, model: Any, activation_fn: nn.Module, mini_batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.activation_fn = activation_fn
        self.mini_batch_size = mini_batch_size

    def forward(
        self,
        inputs: Sequence[Sequence[str]],
        labels: torch.Tensor | None = None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> torch.Tensor:
        """The loss of one batch: `inputs` are its queries, its relevant documents, and columns of negatives.

        The pairs of a batch are computed in mini-batches of like length, whatever column they stand in.
        """
        queries, *columns = inputs
        pairs = [(query, text) for query, *texts in zip(queries, *columns, strict=True) for text in texts]
        order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]) + len(pairs[place][1]))
        parts = []
        for start in range(0, len(order), self.mini_batch_size):
            some = [pairs[place] for place in order[start : start + self.mini_batch_size]]
            features = batch_to_device(self.model.preprocess(some, prompt=prompt, task=task), self.model.device)
            parts.append(self.model(features)["scores"].view(-1))
        logits = torch.cat(parts).float()
        places = torch.tensor(order, device=logits.device)
        logits = torch.zeros_like(logits).scatter(0, places, logits).view(len(queries), -1)
        first = torch.zeros(len(queries), dtype=torch.long, device=logits.device)
        return nn.functional.cross_entropy(self.activation_fn(logits), first)

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card shows of it."""
        return {"activation_fn": fullname(self.activation_fn), "mini_batch_size": self.mini_batch_size}


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
    "cross_entropy": lambda wanted: (CrossEntropyLoss, {"mini_batch_size": wanted.mini_batch_size}),
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
