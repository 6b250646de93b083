"""`crossrank bench size`: how many replicas of which variant a load needs on machines like this one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crossrank.bench.load import Session, run_load
from crossrank.bench.load_result import LoadResult
from crossrank.bench.load_run import MOST_SECONDS, LoadOptions, find_highest_rate
from crossrank.bench.load_summary import summarise
from crossrank.bench.objective import Objective, Search
from crossrank.bench.outcomes import STOPPED
from crossrank.bench.result import Result, Sizing, new_result
from crossrank.bench.server import running_server
from crossrank.bench.variants import chosen_variants, loss_of
from crossrank.bench.workload import PASSAGES, RankCall, describe, workload_calls
from crossrank.errors import CrossrankError, UsageError
from crossrank.inference.ranker import open_ranker

# A fleet at its very limit misses the objective with the first replica that restarts.
_HEADROOM = 0.8
_MOST_RATE = 1_000_000


@dataclass(frozen=True, slots=True)
class SizeOptions:
    """The load, and what is tried.

    Attributes:
        ranker: its directory.
        rate: calls a second that all replicas together get.
        objective: that they must meet.
        documents: of a call.
        variants: names; by default all that run on this machine's CPU.
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
        CrossrankError: no server starts and answers; where another one does, the result says which does not.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    manifest = open_ranker(options.ranker).manifest
    calls = workload_calls(options.workload, 64, options.documents, options.seed)
    if not (options.rate <= _MOST_RATE and options.seconds <= MOST_SECONDS):
        raise UsageError(
            f"give at most {_MOST_RATE:,} calls a second, and {MOST_SECONDS:g} seconds of each measurement"
        )
    sizes: list[Sizing] = []
    loads: list[LoadResult] = []
    failed: dict[str, str] = {}
    interrupted = False
    for variant in chosen_variants(manifest, options.variants):
        progress(f"serve {variant.name}")
        try:
            with running_server(options.ranker, variant.file) as server:
                search = run_load(
                    server.target,
                    partial(_search, options=options, calls=calls, target=server.target, progress=progress),
                )
        except KeyboardInterrupt:
            interrupted = True
            break
        except CrossrankError as error:
            failed[variant.name] = str(error)
            continue
        loads.extend(
            summarise(load, {"variant": variant.name, "calls/s": rate}, options.objective.seconds)
            for rate, load in search.steps
        )
        if search.limit == STOPPED:
            interrupted = True
            break
        sizes.append(replicas_for(variant.name, options.rate, search.rate, search.limit, loss_of(variant)))
    if not loads and interrupted:
        raise KeyboardInterrupt
    if not loads:
        raise CrossrankError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return new_result(
        "size",
        {
            "ranker": options.ranker.name,
            "version": manifest.version,
            "rate": options.rate,
            "objective": str(options.objective),
            "documents": options.documents,
            "workload": options.workload,
            "seconds": options.seconds,
            "seed": options.seed,
            **describe(calls),
        },
        loads=loads,
        sizing=sizes,
        failed=failed,
        interrupted=interrupted,
    )


async def _search(
    session: Session, *, options: SizeOptions, calls: list[RankCall], target: str, progress: Callable[[str], None]
) -> Search:
    wanted = LoadOptions(
        target=target, seconds=options.seconds, deadline=4 * options.objective.seconds, seed=options.seed
    )
    return await find_highest_rate(session, wanted, options.objective, calls, progress)


def replicas_for(
    variant: str, rate: float, highest_rate: float, limit: str = "", loss: Mapping[str, float] | None = None
) -> Sizing:
    """How many replicas carry a rate, with a fifth of each one's highest rate kept free.

    Args:
        variant: name.
        rate: calls a second that all replicas get.
        highest_rate: of one replica within the objective; 0 where there is none.
        limit: why that may be more.
        loss: of the variant in nDCG@10, by set.
    """
    if not highest_rate:
        return Sizing(
            variant=variant,
            highest_rate=0.0,
            replicas=None,
            arithmetic=f"one replica meets the objective at no rate that was tried{f', and {limit}' if limit else ''}; "
            "send it fewer documents",
            loss=dict(loss or {}),
        )
    needed = rate / (_HEADROOM * highest_rate)
    replicas = math.ceil(needed)
    more = f"; perhaps fewer, since {limit}" if limit else ""
    return Sizing(
        variant=variant,
        highest_rate=highest_rate,
        replicas=replicas,
        arithmetic=f"{rate:g} calls/s / ({highest_rate:.3g} calls/s within the objective x {_HEADROOM:g}, a fifth kept "
        f"free) = {needed:.2f}, so {replicas}{more}",
        loss=dict(loss or {}),
    )
