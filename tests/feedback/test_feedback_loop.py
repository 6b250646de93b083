"""The whole loop, by the commands that the README names: what users say changes what the next server answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossrank.client import RankClient
from crossrank.data.eval_set import JudgedSet, read_judged_set
from crossrank.data.examples import read_examples
from crossrank.data.trec import Ranking
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.export.graph.onnx_to_torch import write_cross_encoder
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.serve.local import local_server
from tests.conftest import HELDOUT

RATINGS = 45


def crossrank(*arguments: str) -> str:
    command = [sys.executable, "-m", "crossrank.cli", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def answers(target: str, judged: JudgedSet) -> Ranking:
    """What a server gives for every query, under request ids of their own."""
    ranking: Ranking = {}
    with RankClient(target) as client:
        for query_id, query in judged.queries.items():
            ids = (judged.candidates or {})[query_id]
            texts = [judged.corpus[doc_id] for doc_id in ids]
            results = client.rank(query, texts, ids=ids, request_id=f"r-{query_id}")
            ranking[query_id] = [ids[result["corpus_id"]] for result in results]
    return ranking


@pytest.mark.verify
def test_ratings_reach_the_order(tmp_path: Path) -> None:
    judged = read_judged_set(HELDOUT)
    store, rows, better = tmp_path / "feedback.db", tmp_path / "ratings.jsonl", tmp_path / "better"
    with local_server("--feedback", str(store), "--feedback-texts") as (target, _):
        before = answers(target, judged)
        with RankClient(target) as client:
            given = 0
            for query_id, shown in before.items():
                for doc_id in shown[:4]:
                    if given < RATINGS:
                        stars = 5 if doc_id in judged.positives(query_id) else 1
                        client.record_feedback(f"r-{query_id}", doc_id, stars=stars)
                        given += 1
    report = json.loads(crossrank("feedback", "export", str(store), "--out", str(rows), "--json"))
    assert report["from_ratings"] == RATINGS == len(list(read_examples(rows)))
    write_cross_encoder(DEFAULT_RANKER, tmp_path / "base")
    (tmp_path / "recipe.toml").write_text(
        f'name = "rated"\nbase = "{tmp_path / "base"}"\nmax_length = 96\n[data]\ntrain = "ratings.jsonl"\n'
        '[training]\nnum_train_epochs = 6\nlearning_rate = 1e-4\nper_device_train_batch_size = 8\nreport_to = "none"\n'
    )
    trained_report = json.loads(crossrank("train", str(tmp_path / "recipe.toml"), "--out", str(better), "--json"))
    assert trained_report["verdict"]["folds"] == 5
    print(trained_report["verdict"]["sentence"])
    crossrank("export-onnx", str(better), "--out", str(tmp_path / "ranker"), "--variants", "fp32", "--json")
    with local_server(str(tmp_path / "ranker")) as (target, _):
        after = answers(target, judged)
    rated = {query_id: shown[:4] for query_id, shown in before.items()}
    quality = [
        mean(evaluate(judged.qrels, restricted(ranking, rated), ["nDCG@10"])["nDCG@10"]) for ranking in (before, after)
    ]
    print(quality)
    assert quality[1] > quality[0], quality


def restricted(ranking: Ranking, rated: Ranking) -> Ranking:
    """The rated documents alone, in the order of a ranking."""
    return {query_id: [doc_id for doc_id in ids if doc_id in rated[query_id]] for query_id, ids in ranking.items()}
