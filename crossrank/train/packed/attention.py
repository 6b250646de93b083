"""Attention within sequences that lie one after the other, without padding.

On a GPU in half precision by variable-length flash attention; elsewhere sequences of one length share a product.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None


@dataclass(frozen=True, slots=True)
class Sequences:
    """Where sequences begin.

    Attributes:
        first: index of each sequence's first token, int64 [sequences].
        offsets: the same and the end of the last, int32 [sequences + 1].
        each: 0, 1, 2 … int32 [sequences + 1]: the offsets where a sequence has one query alone.
        longest: an upper bound of their lengths.
        groups: (sequences, length) of neighbours of one length, in order; empty where flash attention is used.
    """

    first: Tensor
    offsets: Tensor
    each: Tensor
    longest: int
    groups: tuple[tuple[int, int], ...] = ()


def attend(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences) -> Tensor:
    """Softmax attention of each query over the keys of its sequence.

    Args:
        query: [tokens, heads, size], or [sequences, heads, size]: one for each sequence.
        key: [tokens, heads, size].
        value: [tokens, heads, size].
        sequences: where each begins.

    Returns:
        [as many as query, heads, size].
    """
    alone = len(query) == len(sequences.first) != len(key)
    if not sequences.groups:
        offsets, longest = (sequences.each, 1) if alone else (sequences.offsets, sequences.longest)
        attended: Tensor = varlen_attn(query, key, value, offsets, sequences.offsets, longest, sequences.longest)
        return attended
    parts, start, sequence = [], 0, 0
    for count, length in sequences.groups:
        end = start + count * length
        keys, values = (part[start:end].unflatten(0, (count, length)).transpose(1, 2) for part in (key, value))
        if alone:
            queries = query[sequence : sequence + count].unsqueeze(2)
        else:
            queries = query[start:end].unflatten(0, (count, length)).transpose(1, 2)
        parts.append(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(0, 1))
        start, sequence = end, sequence + count
    return torch.cat(parts)
