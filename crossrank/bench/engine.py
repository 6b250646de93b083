"""`crossrank bench engine`: our scorer and our server beside sentence-transformers and bare ONNX Runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from crossrank.bench.alternate import Entry, Turns, alternate, ratio
from crossrank.bench.checks import capacity, dead_calls, fairness, overload, steadiness
from crossrank.bench.contestants import (
    Contestant,
    Scores,
    in_process,
    over_grpc,
    padded_onnxruntime,
    scorers,
    sentence_transformers,
)
from crossrank.bench.matmul import matmul_shares
from crossrank.bench.peers import installed_peers, named_server, running_peer
from crossrank.bench.result import Check, Result, Speed, new_result
from crossrank.bench.server import Server, running_server
from crossrank.bench.variants import chosen_variants, loss_of
from crossrank.bench.workload import PASSAGES, RankCall, describe, rank_calls, workload_calls
from crossrank.client import RankClient
from crossrank.errors import CrossrankError, UsageError
from crossrank.evaluation.metrics import kendall_tau, top_k_overlap
from crossrank.inference.manifest import Variant
from crossrank.inference.ranker import Ranker, open_ranker
from crossrank.inference.scorer import Scorer
from crossrank.machine import usable_cores

# sentence-transformers' own default, which is the baseline.
_DEFAULT_BATCH = 32
_BATCH_SIZES = (1, 4, 8, 16)
_CONCURRENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What is measured.

    Attributes:
        model: the cross-encoder in PyTorch that the ranker was exported from; a directory or a Hugging Face id.
        ranker: the ranker's directory.
        variant: that the server runs, and that takes several calls at once; by default the fastest that ranks here.
        documents: of each call.
        workload: as `workload_calls` has it.
        calls: of each turn.
        alternations: turns that count.
        seconds: of each measurement under load.
        load: whether the server is put under load.
        servers: NAME=URL of other servers' `/rerank`, with the same weights, to measure beside ours.
        seed: of the texts and the times.
    """

    model: str
    ranker: Path
    variant: str | None = None
    workload: str = PASSAGES
    documents: int = 100
    calls: int = 2
    alternations: int = 7
    seconds: float = 20.0
    load: bool = True
    servers: tuple[str, ...] = ()
    seed: int = 0


def bench_engine(options: EngineOptions, progress: Callable[[str], None] = lambda step: None) -> Result:
    """Measures all contestants in one run, then the server under load.

    Raises:
        UsageError, InvalidRanker: as `Scorer.open` raises them.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    servers = dict(named_server(server) for server in options.servers)
    if len(servers) < len(options.servers):
        raise UsageError(f"servers {', '.join(options.servers)}: give each a name of its own")
    ranker = open_ranker(options.ranker)
    cpu = chosen_variants(ranker.manifest)
    calls = workload_calls(options.workload, options.calls, options.documents, options.seed)
    many = workload_calls(options.workload, _CONCURRENT, options.documents, options.seed + 100)
    progress("open the contestants")
    with ExitStack() as stack:
        # First of all, since a server that is not there should not be found out after minutes.
        running = {name: stack.enter_context(running_peer(name, url)) for name, url in servers.items()}
        opened = stack.enter_context(scorers(options.ranker, [variant.file for variant in cpu]))
        served = Scorer.open(options.ranker, variant=options.variant)
        stack.callback(served.close)
        server = stack.enter_context(running_server(options.ranker, served.variant.file))
        client = stack.enter_context(RankClient(server.target, timeout=120))
        torch = _torch(options.model, calls, progress)
        graphs = _peers(ranker, cpu) | {f"crossrank {v.name}": (in_process(opened[v.file]), v) for v in cpu}
        graphs[f"crossrank {served.variant.name} over gRPC"] = (over_grpc(client), served.variant)
        losses = {name: loss_of(variant) for name, (_, variant) in graphs.items()}
        contestants = torch | {name: contestant for name, (contestant, _) in graphs.items()}
        peers, failed = stack.enter_context(installed_peers(ranker, cpu[0].file))
        contestants |= peers
        if taken := contestants.keys() & running.keys():
            raise UsageError(f"server {min(taken)}: another contestant has that name; give it one of its own")
        contestants |= running
        entries = {name: Entry(contestant) for name, contestant in contestants.items()}
        turns = alternate(entries, calls, options.alternations, progress)
        failed |= turns.failed
        speeds = _speeds(entries, turns, losses)
        concurrent = {
            f"crossrank {served.variant.name}, 8 at once": Entry(in_process(served), _CONCURRENT),
            f"crossrank {served.variant.name} over gRPC, 8 at once": Entry(over_grpc(client), _CONCURRENT),
        }
        losses = {name: loss_of(served.variant) for name in concurrent}
        at_once: list[Speed] = []
        checks: list[Check] = []
        interrupted = turns.interrupted
        # What was measured so far is kept, whatever happens to the rest.
        try:
            _raise_if_interrupted(turns)
            both = alternate(concurrent, many, options.alternations, progress)
            failed |= both.failed
            at_once = _speeds(concurrent, both, losses)
            _raise_if_interrupted(both)
            if len(at_once) > 1:
                checks.append(_wire(*at_once))
            progress("measure the machine's matrix products")
            checks += matmul_shares(options.ranker, opened, cpu, speeds, calls)
            if options.load:
                for check in _under_load(options, server, served.workers, progress):
                    checks.append(check)
        except KeyboardInterrupt:
            interrupted = True
        except CrossrankError as error:
            failed["the server under load"] = str(error)
    return new_result(
        "engine",
        {
            **asdict(options),
            "servers": list(options.servers),
            **describe(calls),
            "variant": served.variant.name,
            "ranker": options.ranker.name,
            "model": Path(options.model).name,
            "version": ranker.manifest.version,
        },
        speeds=[*speeds, *at_once],
        failed=failed,
        checks=checks,
        interrupted=interrupted,
    )


def _torch(model: str, calls: Sequence[RankCall], progress: Callable[[str], None]) -> dict[str, Contestant]:
    """sentence-transformers in PyTorch at its default batch size, and at its best here."""
    best = {str(size): Entry(sentence_transformers(model, size)) for size in _BATCH_SIZES}
    turns = alternate(best, calls[:1], 2, lambda step: progress(f"look for the best batch size, {step}"))
    _raise_if_interrupted(turns)
    size = max(turns.speeds, key=lambda name: median(turns.speeds[name]))
    return {
        f"sentence-transformers torch, batch {_DEFAULT_BATCH}": sentence_transformers(model, _DEFAULT_BATCH),
        f"sentence-transformers torch, batch {size} (its best)": best[size].contestant,
    }


def _peers(ranker: Ranker, variants: Sequence[Variant]) -> dict[str, tuple[Contestant, Variant]]:
    """The graphs that others make too, in their hands."""
    usual = [variant for variant in variants if variant.name not in ("pruned", "qint8_per_token")]
    found: dict[str, tuple[Contestant, Variant]] = {}
    for variant in usual:
        onnx = sentence_transformers(str(ranker.directory), 8, backend="onnx", model_kwargs={"file_name": variant.file})
        found[f"sentence-transformers onnx {variant.name}"] = (onnx, variant)
        if variant.name == "fp32":
            padded = padded_onnxruntime(ranker, variant.file, usable_cores())
            found["onnxruntime fp32, padded batches of 32"] = (padded, variant)
    return found


def _raise_if_interrupted(turns: Turns) -> None:
    if turns.interrupted:
        raise KeyboardInterrupt


def _speeds(entries: Mapping[str, Entry], turns: Turns, losses: Mapping[str, dict[str, float]]) -> list[Speed]:
    measured, scores = turns.speeds, turns.scores
    baseline = next(iter(entries))
    return [
        Speed(
            name=name,
            concurrency=entries[name].concurrency,
            pairs_per_second=measured[name],
            median=median(measured[name]),
            baseline=baseline,
            ratio=ratio(measured[name], measured[baseline]),
            **_order(scores[baseline], scores[name]) if name != baseline else {"kendall_tau": None, "top_1": None},
            loss=losses.get(name, {}),
        )
        for name in measured
    ]


def _order(reference: Sequence[Scores], scores: Sequence[Scores]) -> dict[str, float]:
    both = list(zip(reference, scores, strict=True))
    return {
        "kendall_tau": float(np.mean([kendall_tau(a, b) for a, b in both])),
        "top_1": float(np.mean([top_k_overlap(a, b, 1) for a, b in both])),
    }


def _wire(alone: Speed, wire: Speed) -> Check:
    share = wire.ratio
    return Check(
        name="over gRPC, of in process, 8 calls at once",
        value=share.value,
        unit="ratio",
        aim="at least 0.97, or no difference beyond noise",
        reached=share.value >= 0.97 or share.high >= 1,
        details={"low": share.low, "high": share.high, "in process": alone.median, "over gRPC": wire.median},
    )


def _under_load(
    options: EngineOptions, server: Server, workers: int, progress: Callable[[str], None]
) -> Iterator[Check]:
    calls = rank_calls(16, options.documents, options.seed + 200)
    progress("measure the capacity")
    pairs_per_second, cores = capacity(server, calls, options.seconds / 2)
    yield cores
    progress("calls at 70% of the capacity")
    yield steadiness(server, calls, pairs_per_second, options.seconds * 2)
    progress("5 documents beside calls of 1,000")
    yield fairness(server, pairs_per_second, workers, options.seed)
    progress("5 times the capacity")
    yield from overload(server, calls, pairs_per_second, options.seconds)
    progress("calls that die")
    yield dead_calls(server, workers, options.seed)
