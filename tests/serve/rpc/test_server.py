"""A real server over loopback: the contract, its status codes, health, reflection and drain."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

BIN = Path(sys.executable).parent
TEXTS = ["def add(a, b):\n    return a + b", "", "the capital of France", "def mul(a, b):\n    return a * b"]


@pytest.fixture(scope="module")
def stub(server: str) -> Iterator[ranker_pb2_grpc.RankServiceStub]:
    with grpc.insecure_channel(server, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield ranker_pb2_grpc.RankServiceStub(channel)


def request(query: str = "add two numbers", texts: list[str] | None = None, **fields: object) -> ranker_pb2.RankRequest:
    documents = [ranker_pb2.Document(id=f"d{n}", text=text) for n, text in enumerate(TEXTS if texts is None else texts)]
    made = ranker_pb2.RankRequest(query=query, documents=documents)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_rank_orders_and_says_what_it_cost(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    response = stub.Rank(request(request_id="r-1", return_documents=True), timeout=120)
    scores = [result.score for result in response.results]
    assert scores == sorted(scores, reverse=True)
    assert sorted(result.index for result in response.results) == [0, 1, 2, 3]
    assert all(TEXTS[result.index] == result.document.text for result in response.results)
    assert all(result.id == f"d{result.index}" for result in response.results)
    assert (response.request_id, response.model) == ("r-1", "default")
    assert len(response.version) == 12
    assert response.usage.pairs == 4
    assert response.usage.tokens > 4 * 5
    assert response.timings.compute.ToNanoseconds() > 0


def test_top_n_scores_and_kinds_agree_with_score(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    top = stub.Rank(request(top_n=1), timeout=120).results
    pairs = [ranker_pb2.Pair(query="add two numbers", document=text) for text in TEXTS]
    logits = stub.Score(ranker_pb2.ScoreRequest(pairs=pairs), timeout=120).scores
    assert len(top) == 1
    assert top[0].score == max(logits)
    kind = ranker_pb2.SCORE_KIND_PROBABILITY
    probabilities = stub.Score(ranker_pb2.ScoreRequest(pairs=pairs, score_kind=kind), timeout=120).scores
    assert all(0 < probability < 1 for probability in probabilities)
    assert sorted(range(4), key=lambda n: logits[n]) == sorted(range(4), key=lambda n: probabilities[n])


def test_equal_scores_keep_the_order_of_the_request(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    response = stub.Rank(request(texts=["same text"] * 20), timeout=120)
    assert [result.index for result in response.results] == list(range(20))


def test_the_same_pair_has_the_same_score_alone_in_company_and_under_load(
    stub: ranker_pb2_grpc.RankServiceStub,
) -> None:
    texts = [f"def function_{n}(x):\n    return x {'+ 1 ' * (n % 7)}" for n in range(60)]
    alone = [stub.Rank(request(texts=[text]), timeout=120).results[0].score for text in texts]
    answers: list[list[float]] = []

    def company() -> None:
        response = stub.Rank(request(texts=texts), timeout=120)
        answers.append([result.score for result in sorted(response.results, key=lambda result: result.index)])

    threads = [threading.Thread(target=company) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert answers == [alone] * 6


def test_a_long_document_is_cut_or_chunked(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    text = "nothing to see here. " * 400 + "def add(a, b): return a + b"
    cut = stub.Rank(request(texts=[text, "short"], max_length=96), timeout=120)
    assert (cut.usage.truncated_documents, cut.usage.pairs) == (1, 2)
    chunked = stub.Rank(
        request(texts=[text, "short"], max_length=96, long_document_strategy=ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK),
        timeout=120,
    )
    result = next(result for result in chunked.results if result.index == 0)
    assert chunked.usage.pairs > 10
    assert chunked.usage.truncated_documents == 0
    assert 0 <= result.chunk.start < result.chunk.end <= len(text)
    best = stub.Score(
        ranker_pb2.ScoreRequest(
            pairs=[ranker_pb2.Pair(query="add two numbers", document=text[result.chunk.start : result.chunk.end])]
        ),
        timeout=120,
    )
    assert best.scores[0] == pytest.approx(result.score, abs=1e-4)


@pytest.mark.parametrize(
    ("bad", "code", "sentence"),
    [
        (request(query=""), "INVALID_ARGUMENT", "query: "),
        (request(query=" \n"), "INVALID_ARGUMENT", "query: "),
        (request(texts=[]), "INVALID_ARGUMENT", "documents: "),
        (request(texts=["x"] * 5000), "INVALID_ARGUMENT", "documents: more than the 1000"),
        (request(texts=["ok", "x" * 1_000_000]), "INVALID_ARGUMENT", "documents[1].text: 1000000 bytes"),
        (request(model="other"), "NOT_FOUND", "model: 'other' is not one of default"),
        (request(model="default@000000000000"), "NOT_FOUND", "not 000000000000"),
        (request(score_kind=7), "INVALID_ARGUMENT", "score_kind: 7 is unknown"),
        (request(long_document_strategy=9), "INVALID_ARGUMENT", "long_document_strategy: 9 is unknown"),
        (request(max_length=1000), "INVALID_ARGUMENT", "max_length: 1000 is not between"),
        (
            ranker_pb2.RankRequest(query="q", documents=[ranker_pb2.Document(id="x" * 5000, text="t")]),
            "INVALID_ARGUMENT",
            "documents[0].id: 5000 characters",
        ),
        (request(request_id="x" * 500), "INVALID_ARGUMENT", "request_id: 500 characters"),
    ],
)
def test_bad_requests_name_the_field(
    stub: ranker_pb2_grpc.RankServiceStub, bad: ranker_pb2.RankRequest, code: str, sentence: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Rank(bad, timeout=120)
    assert (refused.value.code().name, sentence in (refused.value.details() or "")) == (code, True), refused.value
    assert stub.Rank(request(), timeout=120).results


def test_nuls_and_odd_unicode_are_text(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    response = stub.Rank(
        request(query="\0add\0", texts=["\0", "a\0b", "🙂 日本語", "\u202e\ufeff", "\ud7ff"]), timeout=120
    )
    assert len(response.results) == 5


def test_bytes_that_are_no_message_leave_the_server_alive(server: str, stub: ranker_pb2_grpc.RankServiceStub) -> None:
    with grpc.insecure_channel(server) as channel, pytest.raises(grpc.RpcError):
        call: Any = channel.unary_unary("/crossrank.v1.RankService/Rank")
        call(b"\x12\x02\xff\xfe", timeout=120)
    assert stub.Rank(request(), timeout=120).results


def test_a_message_over_the_limit(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Rank(request(texts=["x" * 1_000_000] * 70), timeout=120)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_is_kept(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    # More than twice as many tokens as their bytes lead to expect: what is known to be late is refused before.
    long, seconds = request(texts=["." * 400] * 400), 0.1
    while (code := stub.Rank.future(long, timeout=seconds).code()) is grpc.StatusCode.RESOURCE_EXHAUSTED:
        seconds *= 1.2
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Rank(request(), timeout=120).timings.queue.ToNanoseconds() < 5e9


def test_overload_is_refused_with_pushback(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    heavy = request(texts=["word " * 500] * 40)
    alone = stub.Rank(heavy, timeout=120).timings
    running = [stub.Rank.future(heavy, timeout=120) for _ in range(3)]
    outcomes = []
    for _ in range(200):
        try:
            stub.Rank(heavy, timeout=1.5 * alone.compute.ToNanoseconds() / 1e9)
        except grpc.RpcError as error:
            outcomes.append(error)
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                break
    for call in running:
        call.cancel()
    assert outcomes[-1].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing: Any = outcomes[-1].trailing_metadata()
    assert 0 < int(dict(trailing)["grpc-retry-pushback-ms"]) <= 3000


def test_list_models(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    models = stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=120).models
    assert [(model.name, model.is_default, model.precision, model.max_length) for model in models] == [
        ("default", True, "int8", 512)
    ]
    assert models[0].provider == "CPUExecutionProvider"
    assert models[0].default_score_kind == ranker_pb2.SCORE_KIND_LOGIT
    assert stub.Rank(request(model=f"default@{models[0].version}"), timeout=120).results


@pytest.mark.parametrize("service", ["", "crossrank.v1.RankService"])
def test_health_of_each_service(server: str, service: str) -> None:
    with grpc.insecure_channel(server) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=120)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_buf_curl_lists_and_calls_by_reflection(server: str) -> None:
    curl = [str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    listed = subprocess.run([*curl, "--list-methods", f"http://{server}"], capture_output=True, text=True, check=True)
    assert "crossrank.v1.RankService/Rank" in listed.stdout
    data = json.dumps({"query": "add two numbers", "documents": [{"id": "a", "text": "def add(a, b): ..."}]})
    called = subprocess.run(
        [*curl, "--data", data, f"http://{server}/crossrank.v1.RankService/Rank"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(called.stdout)["results"][0]["id"] == "a"


def test_two_models_and_a_log_without_texts(tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(DEFAULT_RANKER, second)
    with local_server("--ranker", f"second={second}", log=subprocess.PIPE) as (target, process):
        with grpc.insecure_channel(target) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            answer = stub.Rank(request(query="a secret query", texts=["a secret text"], model="second"), timeout=120)
            assert answer.model == "second"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines][-2:] == ["draining", "stopped"]
    assert any(line["event"] == "call" and line["status"] == "OK" for line in lines)
    assert "secret" not in log
