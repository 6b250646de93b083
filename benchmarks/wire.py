"""`python -m benchmarks.wire`: what gRPC and HTTP cost beside ranking in process, in the same rounds."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from statistics import median
from typing import Annotated

import httpx
import numpy as np
import typer

from benchmarks.commands import run_command
from benchmarks.interleave import interleave
from crossrank.client import RankClient
from crossrank.inference.scorer import Scorer
from crossrank.serve.local import UNCACHED, local_server

_WORDS = ("retrieval", "ranks", "the", "documents", "of", "a", "query", "by", "scores", "that", "models", "give")
_CALLERS, _PASSAGES, _PASSAGE_WORDS = 8, 100, 90

_Ask = Callable[[str, list[str]], object]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds.")] = 5,
    calls: Annotated[int, typer.Option(min=1, help="Calls of a round.")] = 16,
    requests: Annotated[int, typer.Option(min=1, help="Requests whose scores are cached, for each length.")] = 500,
) -> None:
    """Measure 8 concurrent calls of 100 passages, then calls whose scores are cached: all that is left is the wire."""
    draw = random.Random(0)
    passages = [[" ".join(draw.choices(_WORDS, k=_PASSAGE_WORDS)) for _ in range(_PASSAGES)] for _ in range(calls)]
    numbers = count()

    def work(ask: _Ask) -> None:
        # A query of its own for each call, so that no score is one that was given before.
        with ThreadPoolExecutor(_CALLERS) as pool:
            list(pool.map(lambda texts: ask(f"how are documents ranked {next(numbers)}", texts), passages))

    with ExitStack() as stack:
        scorer = stack.enter_context(Scorer.open())
        grpc, http = _both(stack, *UNCACHED)
        engines = {"in process": scorer.rank, "gRPC": grpc, "HTTP": http}
        found = interleave({name: partial(work, ask) for name, ask in engines.items()}, rounds)
        for name, seconds in found.seconds.items():
            ratio = median(first / own for first, own in zip(found.seconds["in process"], seconds, strict=True))
            print(f"{name:10} {calls * _PASSAGES / median(seconds):8.1f} pairs a second, {ratio:.3f} of in process")
    with ExitStack() as stack:
        for name, ask in zip(("gRPC", "HTTP"), _both(stack), strict=True):
            for length in (1, 10, 100):
                _cached(name, ask, passages[0][:length], requests)


def _both(stack: ExitStack, *arguments: str) -> tuple[_Ask, _Ask]:
    """The two ways into one server of its own."""
    server = stack.enter_context(local_server(*arguments, "--http-port", "0"))
    assert server.process.stdout is not None
    root = server.process.stdout.readline().split()[-1]
    client = stack.enter_context(RankClient(server.target))
    http = stack.enter_context(httpx.Client(base_url=root, timeout=120, trust_env=False))
    return client.rank, lambda query, texts: http.post(
        "/v2/rerank", json={"query": query, "documents": texts}
    ).raise_for_status()


def _cached(name: str, ask: _Ask, texts: list[str], requests: int) -> None:
    ask("how are documents ranked", texts)
    seconds = []
    for _ in range(requests):
        started = time.perf_counter()
        ask("how are documents ranked", texts)
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.quantile(seconds, (0.5, 0.99))
    print(
        f"{name:5} {len(texts):3} cached documents: {requests / sum(seconds):7.1f} requests a second, "
        f"p50 {1000 * p50:6.2f} ms, p99 {1000 * p99:6.2f} ms"
    )


if __name__ == "__main__":
    run_command(main)
