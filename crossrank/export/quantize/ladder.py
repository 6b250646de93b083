"""The ladder of the per-token int8 variant: all of it rounded first, then ever more of it left in fp32.

What is left in fp32 is found by its effect on the ranking: each matrix is taken out of the rounding alone, and the
noise in the scores that ends with that is weighed against the products that it costs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossrank.export.graph.encoder import MATRICES, Encoder, read_encoder
from crossrank.export.graph.prune import Matrix, all_matrices, write_pruned
from crossrank.export.quantize.smooth import measure_ranges, smooth

Group = frozenset[Matrix]

# How many of the most sensitive groups the later rungs leave in fp32.
_KEPT_GROUPS = (1, 2, 4, 8)


def per_token_rungs(
    model: Any, batches: Sequence[Mapping[str, Any]], path: Path, noise_to_signal: Callable[[tuple[str, ...]], float]
) -> Iterator[tuple[str, ...]]:
    """Writes one graph after the other to `path`, the fastest first.

    Args:
        model: a transformers model that `read_encoder` reads.
        batches: inputs of the model, each of shape [1, tokens], for the ranges of its activations.
        path: the file to write.
        noise_to_signal: of the graph at `path`, given what it leaves in fp32; see
            `crossrank.evaluation.fidelity.noise_to_signal`.

    Yields:
        The matrices that the graph leaves in fp32, "layer.name".
    """
    encoder = read_encoder(model)
    assert encoder is not None
    smoothed, divisors = smooth(encoder, measure_ranges(model, encoder, batches))

    def write(kept: Group) -> tuple[str, ...]:
        write_pruned(smoothed, path, quantized=all_matrices(encoder) - kept, smoothing=divisors)
        return tuple(f"{number}.{name}" for number, name in sorted(kept))

    yield write(frozenset())
    cheap = _for_first_token(encoder)
    yield write(cheap)
    baseline = noise_to_signal(write(cheap))
    gains = {}
    for group in _groups(encoder, cheap):
        gains[group] = (baseline - noise_to_signal(write(cheap | group))) / _products(encoder, group)
    sensitive = sorted(gains, key=lambda group: -gains[group])
    for count in _KEPT_GROUPS:
        if count < len(sensitive):
            yield write(cheap.union(*sensitive[:count]))


def _for_first_token(encoder: Encoder) -> Group:
    """The last layer's matrices that one token alone goes through: in fp32 they cost next to nothing."""
    last = len(encoder.layers) - 1
    return frozenset((last, name) for name in MATRICES if name not in ("key", "value"))


def _groups(encoder: Encoder, without: Group) -> list[Group]:
    """What is rounded together: matrices with the same input, each other one alone."""
    groups = []
    for number in range(len(encoder.layers)):
        for names in (MATRICES[:3], *((name,) for name in MATRICES[3:])):
            group = frozenset((number, name) for name in names) - without
            if group:
                groups.append(group)
    return groups


def _products(encoder: Encoder, group: Group) -> int:
    return sum(encoder.layers[number].linears[name].weight.size for number, name in group)
