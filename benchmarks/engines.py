"""`python -m benchmarks.engines MODEL RANKER`: crossrank next to other inference engines."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import server_checks
from benchmarks.adapters import (
    Engine,
    in_process,
    over_grpc,
    padded_onnxruntime,
    scorers,
    sentence_transformers,
)
from benchmarks.commands import run_command
from benchmarks.engine_rounds import measure_engines
from benchmarks.observed_server import observed_server
from benchmarks.peers import installed_peers, named_server, running_peer
from benchmarks.results import PEERS, Check, EngineSpeed, EnginesResult, section_of
from benchmarks.roofline import matmul_shares
from crossrank.bench.load.workload import (
    RerankRequest,
    describe_workload,
    workload_requests,
)
from crossrank.bench.options import PASSAGES, LoadOptions
from crossrank.bench.results import this_run
from crossrank.bench.variants import choose_variants, ndcg_changes
from crossrank.cli.commands.bench import AsJson, Out, deliver
from crossrank.client import RankClient
from crossrank.errors import CrossrankError, UsageError
from crossrank.inference.ranker.directory import Ranker, open_ranker
from crossrank.inference.ranker.manifest import Variant
from crossrank.inference.scorer import Scorer
from crossrank.machine import usable_cores

_log = logging.getLogger("crossrank.benchmarks")

# sentence-transformers' own default, which is the baseline.
_DEFAULT_BATCH = 32
_BATCH_SIZES = (1, 4, 8, 16)
_CONCURRENCY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesOptions:
    """What is measured.

    Attributes:
        model: the cross-encoder in PyTorch that the ranker was exported from; a directory or a Hugging Face id.
        ranker: the ranker's directory.
        variant: that the server runs, and that takes several requests at once; by default the fastest.
        documents: number of documents of each request.
        workload: see `workload_requests`.
        requests: number of requests of each round.
        rounds: that are measured.
        seconds: length of each measurement under load.
        load: whether the server is put under load.
        servers: NAME=URL of other servers' `/rerank`, with the same weights.
        seed: random seed of texts and arrival times.
    """

    model: str
    ranker: Path
    variant: str | None = None
    workload: str = PASSAGES
    documents: int = 100
    requests: int = 2
    rounds: int = 7
    seconds: float = 20.0
    load: bool = True
    servers: tuple[str, ...] = ()
    seed: int = 0


def bench_engines(options: EnginesOptions) -> EnginesResult:
    """Measures all engines in interleaved rounds, then the server under load.

    Raises:
        UsageError, InvalidRanker: as `Scorer.open` raises them.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    servers = dict(named_server(server) for server in options.servers)
    if len(servers) < len(options.servers):
        raise UsageError(f"servers {', '.join(options.servers)}: give each a name of its own")
    ranker = open_ranker(options.ranker)
    variants = choose_variants(ranker.manifest)
    requests = workload_requests(options.workload, options.requests, options.documents, options.seed)
    many = workload_requests(options.workload, _CONCURRENCY, options.documents, options.seed + 100)
    with ExitStack() as stack:
        # First of all: a server that is not there should be found at once.
        running = {name: stack.enter_context(running_peer(name, url)) for name, url in servers.items()}
        opened = stack.enter_context(scorers(options.ranker, [variant.file for variant in variants]))
        served = Scorer.open(options.ranker, variant=options.variant)
        stack.callback(served.close)
        fastest = ranker.variant(served.variant.file)
        server = stack.enter_context(observed_server(options.ranker, fastest.file))
        client = stack.enter_context(RankClient(server.target, timeout=120))
        torch = _torch(options.model, requests[:1])
        graphs = _others(ranker, variants) | {f"crossrank {v.name}": (in_process(opened[v.file]), v) for v in variants}
        graphs[f"crossrank {fastest.name} over gRPC"] = (over_grpc(client), fastest)
        changes = {name: ndcg_changes(variant) for name, (_, variant) in graphs.items()}
        peers, failed = stack.enter_context(installed_peers(ranker, variants[0].file))
        engines = torch | {name: engine for name, (engine, _) in graphs.items()} | peers
        if taken := engines.keys() & running.keys():
            raise UsageError(f"server {min(taken)}: another engine has that name; give it one of its own")
        alone = measure_engines(engines | running, requests, options.rounds, 1, changes)
        at_once: list[EngineSpeed] = []
        checks: list[Check] = []
        interrupted = alone.interrupted
        # What was measured so far is kept, whatever happens to the rest.
        try:
            alone.raise_if_interrupted()
            concurrent = {
                f"crossrank {fastest.name}, 8 at once": in_process(served),
                f"crossrank {fastest.name} over gRPC, 8 at once": over_grpc(client),
            }
            both = measure_engines(
                concurrent, many, options.rounds, _CONCURRENCY, dict.fromkeys(concurrent, ndcg_changes(fastest))
            )
            failed |= both.failed
            at_once = both.speeds
            both.raise_if_interrupted()
            if len(at_once) > 1:
                checks.append(_wire(*at_once))
            _log.info("measure the machine's matrix products")
            checks += matmul_shares(options.ranker, opened, variants, alone.speeds, requests)
            if options.load:
                for check in server_checks.run_checks(
                    server, options.documents, options.seconds, served.workers, options.seed
                ):
                    checks.append(check)
        except KeyboardInterrupt:
            interrupted = True
        except CrossrankError as error:
            failed["the server under load"] = str(error)
    settings = {
        **asdict(options),
        "servers": list(options.servers),
        **describe_workload(requests),
        "variant": fastest.name,
        "ranker": options.ranker.name,
        "model": Path(options.model).name,
        "version": ranker.manifest.version,
    }
    return EnginesResult(
        **this_run(settings, *PEERS),
        speeds=[*alone.speeds, *at_once],
        failed=failed | alone.failed,
        checks=checks,
        interrupted=interrupted,
    )


def _torch(model: str, requests: Sequence[RerankRequest]) -> dict[str, Engine]:
    """sentence-transformers in PyTorch at its default batch size, and at its best here."""
    _log.info("look for the best batch size of sentence-transformers")
    by_size = {str(size): sentence_transformers(model, size) for size in _BATCH_SIZES}
    measured = measure_engines(by_size, requests, 2, 1, {})
    measured.raise_if_interrupted()
    best = max(measured.speeds, key=lambda speed: speed.median).name
    return {
        f"sentence-transformers torch, batch {_DEFAULT_BATCH}": sentence_transformers(model, _DEFAULT_BATCH),
        f"sentence-transformers torch, batch {best} (its best)": by_size[best],
    }


def _others(ranker: Ranker, variants: Sequence[Variant]) -> dict[str, tuple[Engine, Variant]]:
    """The graphs that other tools make too, run by those tools."""
    found: dict[str, tuple[Engine, Variant]] = {}
    for variant in variants:
        if variant.name in ("pruned", "qint8_per_token"):
            continue
        onnx = sentence_transformers(str(ranker.directory), 8, backend="onnx", model_kwargs={"file_name": variant.file})
        found[f"sentence-transformers onnx {variant.name}"] = (onnx, variant)
        if variant.name == "fp32":
            padded = padded_onnxruntime(ranker, variant.file, usable_cores())
            found["onnxruntime fp32, padded batches of 32"] = (padded, variant)
    return found


def _wire(alone: EngineSpeed, wire: EngineSpeed) -> Check:
    share = wire.ratio
    return Check(
        name="over gRPC relative to in process, 8 requests at once",
        value=share.mean,
        unit="ratio",
        aim="at least 0.97, or no difference beyond noise",
        reached=share.mean >= 0.97 or share.high >= 1,
        details={"low": share.low, "high": share.high, "in process": alone.median, "over gRPC": wire.median},
    )


def engines(
    model: Annotated[str, typer.Argument(help="Cross-encoder in PyTorch (directory or Hugging Face id).")],
    ranker: Annotated[Path, typer.Argument(help="The ranker that was exported from it.")],
    variant: Annotated[str | None, typer.Option(help="Variant that the server runs. Default: the fastest.")] = None,
    workload: Annotated[str, typer.Option(help=LoadOptions.model_fields["workload"].description)] = PASSAGES,
    documents: Annotated[int, typer.Option(min=2, help="Number of documents of a request.")] = 100,
    requests: Annotated[int, typer.Option(min=1, help="Number of requests of a round.")] = 2,
    rounds: Annotated[int, typer.Option(min=2, help="Number of measured rounds.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement under load.")] = 20.0,
    load: Annotated[bool, typer.Option(help="Also put the server under load.")] = True,
    server: Annotated[
        list[str] | None, typer.Option(help="NAME=URL of another server's /rerank with the same weights; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help=LoadOptions.model_fields["seed"].description)] = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure crossrank next to other inference engines: same weights, same requests, interleaved rounds."""
    options = EnginesOptions(
        model=model,
        ranker=ranker,
        variant=variant,
        workload=workload,
        documents=documents,
        requests=requests,
        rounds=rounds,
        seconds=seconds,
        load=load,
        servers=tuple(server or ()),
        seed=seed,
    )
    deliver(lambda: section_of(bench_engines(options)), out, as_json)


if __name__ == "__main__":
    run_command(engines)
