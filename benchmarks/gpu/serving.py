"""`python -m benchmarks.gpu.serving RANKER`: pairs a second by tokens of a batch, errors, and latency over gRPC."""

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.commands import run_command
from crossrank.client import RankClient
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.inference.scorer import Scorer
from crossrank.inference.tokens.tokenizer import TokenizedPair
from crossrank.serve.local import UNCACHED, local_server

# Pairs of a question and a passage of Natural Questions, in tokens: log-normal.
_MEAN_TOKENS, _SPREAD, _SHORTEST = 130, 0.5, 16
_PASSAGE_WORDS = 90


def main(
    ranker: Annotated[Path, typer.Argument(help="Directory of a ranker.")],
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    variants: Annotated[str, typer.Option(help="Names, separated by commas.")] = "fp32,fp16",
    budgets: Annotated[
        str, typer.Option(help="Tokens of a batch, separated by commas.")
    ] = "4096,8192,16384,32768,65536",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of a measurement.")] = 4000,
    requests: Annotated[int, typer.Option(min=1, help="Requests of 100 passages over gRPC.")] = 100,
) -> None:
    """Measure a ranker on a device; every line is JSON."""
    for variant in variants.split(","):
        with Scorer.open(ranker, variant=variant, device=device) as scorer:
            golden = scorer.facts.golden_pairs
            texts = [(pair.query, pair.document) for pair in golden]
            with Scorer.open(ranker, variant="fp32") as reference:
                errors = np.abs(scorer.predict(texts) - reference.predict(texts))
            _say(variant=variant, golden_pairs=len(golden), largest_error=float(errors.max()))
            for budget in map(int, budgets.split(",")):
                _say(variant=variant, budget=budget, pairs_per_second=_speed(scorer, budget, pairs))
        arguments = (str(ranker), "--variant", variant, "--device", device, *UNCACHED)
        with local_server(*arguments) as server, RankClient(server.target) as client:
            _say(variant=variant, **_latency(client, requests))


def _speed(scorer: Scorer, budget: int, count: int) -> float:
    policy = BatchPolicy(max_tokens=budget, padding=0.1, batching_pays=True)
    scheduler = Scheduler(scorer.session.run, workers=scorer.workers, policy=policy, cache_size=0)
    try:
        work = _workload(scorer, count)
        scheduler.submit(work[: count // 4]).logits.result()
        started = time.perf_counter()
        scheduler.submit(work).logits.result()
        return round(count / (time.perf_counter() - started), 1)
    finally:
        scheduler.close()


def _workload(scorer: Scorer, count: int) -> list[TokenizedPair]:
    encoded = scorer.tokenizer.encode([(pair.query, pair.document) for pair in scorer.facts.golden_pairs])
    ids, type_ids = (np.concatenate([getattr(pair, name) for pair in encoded]) for name in ("ids", "type_ids"))
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(np.log(_MEAN_TOKENS) - _SPREAD**2 / 2, _SPREAD, size=count).astype(int)
    return [
        TokenizedPair(np.resize(ids, length), np.resize(type_ids, length), index, None, False)
        for index, length in enumerate(np.clip(lengths, _SHORTEST, scorer.tokenizer.max_length).tolist())
    ]


def _latency(client: RankClient, requests: int) -> dict[str, float]:
    draw = np.random.default_rng(0)
    words = np.array(
        [
            "the",
            "of",
            "a",
            "city",
            "river",
            "mountain",
            "read",
            "file",
            "number",
            "return",
            "value",
            "old",
            "name",
            "first",
            "state",
            "water",
        ]
    )
    seconds = []
    for _ in range(requests):
        passages = [" ".join(draw.choice(words, _PASSAGE_WORDS)) for _ in range(100)]
        started = time.perf_counter()
        client.rank("where does the river begin", passages)
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1000
    return {"requests": requests, "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    run_command(main)
