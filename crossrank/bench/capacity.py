"""`crossrank bench capacity`: how many replicas of which variant a load needs on machines like this one."""

import logging
import math
from collections.abc import Mapping
from functools import partial

from crossrank.bench.load.generator import Session, run_load
from crossrank.bench.load.load_metrics import STOPPED, LoadMeasurement, summarize
from crossrank.bench.load.load_test import search_max_rate
from crossrank.bench.load.slo import MaxRateSearch
from crossrank.bench.load.workload import RerankRequest, describe_workload, workload_requests
from crossrank.bench.options import CapacityOptions, LoadOptions
from crossrank.bench.results import RATE, CapacityResult, VariantCapacity, this_run
from crossrank.bench.variants import choose_variants, ndcg_changes
from crossrank.errors import CrossrankError
from crossrank.inference.ranker.directory import open_ranker
from crossrank.serve.local import UNCACHED, local_server

_log = logging.getLogger("crossrank.bench")

# A fleet at its very limit misses the objective with the first replica that restarts.
_HEADROOM = 0.8
_DISTINCT_REQUESTS = 64


def bench_capacity(options: CapacityOptions) -> CapacityResult:
    """Serves each variant on loopback, searches the highest rate within the objective, and divides.

    The load's generator shares the machine with the server, so a replica on a machine of its own carries a little more.

    Raises:
        UsageError, InvalidRanker: the ranker or a variant cannot be used.
        CrossrankError: no server starts and answers; where another one does, the result says which does not.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    manifest = open_ranker(options.ranker).manifest
    requests = workload_requests(options.workload, _DISTINCT_REQUESTS, options.documents, options.seed)
    variants: list[VariantCapacity] = []
    loads: list[LoadMeasurement] = []
    failed: dict[str, str] = {}
    interrupted = False
    for variant in choose_variants(manifest, options.variants):
        _log.info("serve %s", variant.name)
        try:
            with local_server(str(options.ranker), "--variant", variant.file, *UNCACHED) as server:
                search = run_load(
                    server.target,
                    partial(_search, options=options, requests=requests, target=server.target),
                )
        except KeyboardInterrupt:
            interrupted = True
            break
        except CrossrankError as error:
            failed[variant.name] = str(error)
            continue
        loads.extend(
            summarize(load, {"variant": variant.name, RATE: rate}, options.slo.seconds) for rate, load in search.steps
        )
        if search.limit == STOPPED:
            interrupted = True
            break
        variants.append(replicas_for(variant.name, options.rate, search.rate, search.limit, ndcg_changes(variant)))
    if not loads and interrupted:
        raise KeyboardInterrupt
    if not loads:
        raise CrossrankError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    settings = {
        "ranker": options.ranker.name,
        "version": manifest.version,
        "rate": options.rate,
        "slo": str(options.slo),
        "documents": options.documents,
        "workload": options.workload,
        "seconds": options.seconds,
        "seed": options.seed,
    }
    return CapacityResult(
        **this_run(settings | describe_workload(requests)),
        variants=variants,
        loads=loads,
        failed=failed,
        interrupted=interrupted,
    )


async def _search(
    session: Session,
    *,
    options: CapacityOptions,
    requests: list[RerankRequest],
    target: str,
) -> MaxRateSearch:
    load = LoadOptions(target=target, seconds=options.seconds, deadline=4 * options.slo.seconds, seed=options.seed)
    return await search_max_rate(session, load, options.slo, requests)


def replicas_for(
    variant: str, rate: float, max_rate: float, limit: str = "", ndcg_change: Mapping[str, float] | None = None
) -> VariantCapacity:
    """Computes how many replicas carry a rate, with a fifth of each one's highest rate kept free.

    Args:
        variant: name.
        rate: requests a second that all replicas get.
        max_rate: of one replica within the objective; 0 where there is none.
        limit: why that may be more.
        ndcg_change: of the variant, by set.
    """
    if not max_rate:
        return VariantCapacity(
            variant=variant,
            max_rate=0.0,
            replicas=None,
            arithmetic=f"one replica meets the objective at no rate that was tried{f', and {limit}' if limit else ''}; "
            "send it fewer documents",
            ndcg_change=dict(ndcg_change or {}),
        )
    needed = rate / (_HEADROOM * max_rate)
    replicas = math.ceil(needed)
    more = f"; perhaps fewer, since {limit}" if limit else ""
    return VariantCapacity(
        variant=variant,
        max_rate=max_rate,
        replicas=replicas,
        arithmetic=f"{rate:g} requests/s / ({max_rate:.3g} requests/s within the objective x {_HEADROOM:g}, a fifth "
        f"kept free) = {needed:.2f}, so {replicas}{more}",
        ndcg_change=dict(ndcg_change or {}),
    )
