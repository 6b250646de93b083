"""`crossrank bench size`: how many replicas of which variant a load needs on machines like this one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossrank.bench.load_run import LoadOptions, find_highest_rate
from crossrank.bench.load_summary import summarise
from crossrank.bench.objective import Objective
from crossrank.bench.result import LoadResult, Result, Sizing, new_result
from crossrank.bench.server import running_server
from crossrank.bench.workload import PASSAGES, workload_calls
from serve.errors import UsageError
from serve.ranker import open_ranker

# A fleet at its very limit misses the objective with the first replica that restarts.
_HEADROOM = 0.8


@dataclass(frozen=True, slots=True)
class SizeOptions:
    """The load, and what is tried.

    Attributes:
        ranker: its directory.
        rate: calls a second that all replicas together get.
        objective: that they must meet.
        documents: of a call.
        variants: names; by default all for the CPU.
        seconds: of each measurement.
        workload: as `workload_calls` has it.
        seed: of texts and times.
    """

    ranker: Path
    rate: float
    objective: Objective
    documents: int = 50
    variants: tuple[str, ...] = ()
    seconds: float = 10.0
    workload: str = PASSAGES
    seed: int = 0


def bench_size(options: SizeOptions, progress: Callable[[str], None] = lambda step: None) -> Result:
    """Serves each variant on loopback, finds the highest rate within the objective, and divides.

    The load's generator shares the machine with the server, so a replica on a machine of its own carries a little more.

    Raises:
        UsageError, InvalidRanker: the ranker or a variant cannot be used.
        CrossrankError: a server does not start or does not answer.
    """
    manifest = open_ranker(options.ranker).manifest
    cpu = {variant.name: variant for variant in manifest.variants if variant.provider == "cpu"}
    if unknown := set(options.variants) - set(cpu):
        raise UsageError(f"variant {min(unknown)}: the ranker has {', '.join(cpu)}")
    calls = workload_calls(options.workload, 64, options.documents, options.seed)
    sizes: list[Sizing] = []
    loads: list[LoadResult] = []
    for name in options.variants or cpu:
        progress(f"serve {name}")
        with running_server(options.ranker, cpu[name].file) as server:
            wanted = LoadOptions(
                target=server.target, seconds=options.seconds, deadline=4 * options.objective.seconds, seed=options.seed
            )
            found, steps = find_highest_rate(wanted, options.objective, calls, progress)
        loads.extend(summarise(load, {"variant": name, "calls a second": rate}) for rate, load in steps)
        sizes.append(replicas_for(name, options.rate, found))
        if steps[-1][1].interrupted:
            break
    return new_result(
        "size",
        {
            "ranker": options.ranker.name,
            "version": manifest.version,
            "rate": options.rate,
            "objective": str(options.objective),
            "documents": options.documents,
            "workload": options.workload,
            "seed": options.seed,
        },
        loads=loads,
        sizing=sizes,
    )


def replicas_for(variant: str, rate: float, highest_rate: float) -> Sizing:
    """How many replicas carry a rate, with a fifth of each one's highest rate kept free."""
    if not highest_rate:
        return Sizing(
            variant=variant,
            highest_rate=0.0,
            replicas=None,
            arithmetic="one replica meets the objective at no rate that was tried; send it fewer documents",
        )
    usable = _HEADROOM * highest_rate
    replicas = math.ceil(rate / usable)
    return Sizing(
        variant=variant,
        highest_rate=highest_rate,
        replicas=replicas,
        arithmetic=f"{rate:g} calls/s / ({highest_rate:.3g} calls/s within the objective x {_HEADROOM:g}, a fifth kept "
        f"free) = {rate / usable:.2f}, so {replicas}",
    )
