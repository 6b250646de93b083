"""The objective: targets fused of teachers and judgements by list; exits learn the model's own scores."""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossrank.train.packed.batches import Assembler, Batch, moved
from crossrank.train.packed.encoder import UnpaddedEncoder

# The list-wise loss knows only differences within a list; this share of a loss on each document alone gives a score a
# meaning of its own.
_RELEVANCE_SHARE = 0.05


def losses(model: UnpaddedEncoder, assembler: Assembler, batch: Batch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The model's loss on a batch, and the sum of its exits'.

    The first is the Kullback-Leibler divergence of the model's softmax over a list from that of the targets (ListNet,
    Cao et al. 2007), with a small share of binary cross entropy; an exit's is its divergence from the model's own.
    """
    logits, early = model(assembler.pairs(batch.plan), dtype)
    places, wanted, relevant = (
        moved(part, logits.device) for part in (batch.plan.places, batch.targets, batch.relevant)
    )
    present = places >= 0
    lists = gathered(logits, places)
    shares = torch.softmax(wanted.masked_fill(~present, -torch.inf), 1)
    each = F.binary_cross_entropy_with_logits(torch.where(present, lists, 0.0), relevant.float(), reduction="none")
    relevance = torch.where(present, each, 0.0).sum() / present.sum()
    own = torch.softmax(lists.detach(), 1)
    exits = [_divergence(own, gathered(part, places), present) for part in early]
    return _divergence(shares, lists, present) + _RELEVANCE_SHARE * relevance, sum(exits, torch.zeros_like(relevance))


def gathered(logits: Tensor, places: Tensor) -> Tensor:
    """Logits of pairs as lists, -inf where `places` is -1; [lists, list size]."""
    return torch.where(places >= 0, logits[places.clamp(min=0)], -torch.inf)


def _divergence(shares: Tensor, lists: Tensor, present: Tensor) -> Tensor:
    """Mean divergence of the softmax of `lists` from `shares`, both [lists, size]."""
    logarithms = torch.log_softmax(lists, 1).masked_fill(~present, 0.0)
    return (torch.special.xlogy(shares, shares) - shares * logarithms).sum(1).mean()
