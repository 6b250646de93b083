import pytest

from crossrank.client import RankClient
from crossrank.inference.hub import DEFAULT_RANKER
from crossrank.serve.local import local_server


def test_a_server_beside_a_service_of_its_name_serves_further_rankers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_PORT", "tcp://10.96.7.1:80")
    monkeypatch.setenv("CROSSRANK_METRICS_PORT", "tcp://10.96.7.1:80")
    with local_server("--ranker", f"second={DEFAULT_RANKER}") as (target, _):
        answers = []
        for model in ("", "second"):
            with RankClient(target, model=model) as client:
                answers.append(client.rank("read a file", ["def read(path): ...", "import os"]))
    assert answers[0] == answers[1]
