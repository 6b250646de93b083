"""RecordFeedback on a real server: every kind, every refusal, what survives SIGKILL, SIGTERM and a full disk."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.rpc.test_server import BIN, TEXTS, request
from tests.serve.rpc.test_stream import queries

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport

SERVICE = "crossrank.v1.FeedbackService"


@dataclass
class Served:
    """A server that keeps feedback, without texts."""

    target: str
    metrics: str
    store: Path
    process: int
    rank: ranker_pb2_grpc.RankServiceStub
    feedback: ranker_pb2_grpc.FeedbackServiceStub


@pytest.fixture(scope="module")
def served(tiny: "ExportReport", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = tmp_path_factory.mktemp("feedback") / "store"
    arguments = (str(tiny.directory), "--feedback", str(store), "--metrics-port", "0")
    with (
        local_server(*arguments, log=subprocess.PIPE) as (target, process),
        grpc.insecure_channel(target) as channel,
    ):
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr)
        port = next(line["port"] for line in lines if line["event"] == "metrics")
        stubs = ranker_pb2_grpc.RankServiceStub(channel), ranker_pb2_grpc.FeedbackServiceStub(channel)
        yield Served(target, f"http://127.0.0.1:{port}/metrics", store, process.pid, *stubs)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
        assert "two numbers" not in log and "not so good" not in log


def said(request_id: str = "r", document_id: str = "d0", **fields: object) -> ranker_pb2.RecordFeedbackRequest:
    made = ranker_pb2.RecordFeedbackRequest(request_id=request_id, document_id=document_id)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def kept(store: Path) -> list[tuple[object, ...]]:
    """Feedback with what it is about."""
    with closing(sqlite3.connect(store)) as database:
        return database.execute(
            "SELECT request_id, document_id, model, query, document, kind, value, comment FROM feedback "
            "JOIN impression ON impression.id = impression JOIN shown USING (impression, rank) ORDER BY feedback.id"
        ).fetchall()


def test_every_kind_is_kept_for_calls_and_for_queries_of_streams(served: Served) -> None:
    served.rank.Rank(request(request_id="call"), timeout=120)
    [streamed] = served.rank.RankStream(queries(request(request_id="streamed", top_n=2)), timeout=120)
    names = [
        served.feedback.RecordFeedback(given, timeout=120).feedback_id
        for given in (
            said("call", "d0", thumb=ranker_pb2.THUMB_UP),
            said("call", "d0", thumb=ranker_pb2.THUMB_DOWN, comment="not so good"),
            said("call", "d3", stars=5),
            said("call", "d2", click=True),
        )
    ]
    assert len(set(names)) == 4
    with closing(sqlite3.connect(served.store)) as database:
        shown = [
            document_id
            for (document_id,) in database.execute(
                "SELECT document_id FROM shown JOIN impression ON id = impression "
                "WHERE request_id = 'streamed' ORDER BY rank"
            )
        ]
    assert shown == [result.id for result in streamed.response.results]
    served.feedback.RecordFeedback(said("streamed", shown[0], stars=1), timeout=120)
    [hidden, _] = {f"d{number}" for number in range(4)} - set(shown)
    with pytest.raises(grpc.RpcError, match="the answer did not hold this document"):  # top_n left it out
        served.feedback.RecordFeedback(said("streamed", hidden, stars=1), timeout=120)
    by_call = [row for row in kept(served.store) if row[0] == "call"]
    assert by_call == [
        ("call", "d0", "ranker", None, None, "thumb", 1, ""),
        ("call", "d0", "ranker", None, None, "thumb", 0, "not so good"),
        ("call", "d3", "ranker", None, None, "stars", 5, ""),
        ("call", "d2", "ranker", None, None, "click", 1, ""),
    ]


@pytest.mark.parametrize(
    ("bad", "code", "sentence"),
    [
        (said("", stars=1), "INVALID_ARGUMENT", "request_id: "),
        (said("x" * 201, stars=1), "INVALID_ARGUMENT", "request_id: 201 characters, at most 200"),
        (said(document_id="", stars=1), "INVALID_ARGUMENT", "document_id: "),
        (said(), "INVALID_ARGUMENT", "judgement: is missing"),
        (said(comment="only words"), "INVALID_ARGUMENT", "judgement: is missing"),
        (said(thumb=ranker_pb2.THUMB_UNSPECIFIED), "INVALID_ARGUMENT", "thumb: 0 is neither"),
        (said(thumb=7), "INVALID_ARGUMENT", "thumb: 7 is neither"),
        (said(stars=0), "INVALID_ARGUMENT", "stars: 0 is not between 1 and 5"),
        (said(stars=6), "INVALID_ARGUMENT", "stars: 6 is not between 1 and 5"),
        (said(stars=2**32 - 1), "INVALID_ARGUMENT", "stars: 4294967295 is not between"),
        (said(click=False), "INVALID_ARGUMENT", "click: is false"),
        (said(stars=1, comment="x" * 10_001), "INVALID_ARGUMENT", "comment: 10001 characters, at most 10000"),
        (said("never", stars=1), "NOT_FOUND", "request_id: no answer of this name is kept"),
        (said(document_id="d9", stars=1), "NOT_FOUND", "document_id: the answer did not hold this document"),
    ],
)
def test_bad_feedback_names_the_field_and_is_not_kept(
    served: Served, bad: ranker_pb2.RecordFeedbackRequest, code: str, sentence: str
) -> None:
    served.rank.Rank(request(request_id="r"), timeout=120)
    before = kept(served.store)
    with pytest.raises(grpc.RpcError) as refused:
        served.feedback.RecordFeedback(bad, timeout=120)
    assert (refused.value.code().name, sentence in (refused.value.details() or "")) == (code, True), refused.value
    assert kept(served.store) == before


def test_what_is_counted(served: Served) -> None:
    def read() -> dict[str, float]:
        with urllib.request.urlopen(served.metrics, timeout=120) as reply:
            lines = (line.rpartition(" ") for line in reply.read().decode().splitlines() if line[0] != "#")
            return {name: float(value) for name, _, value in lines}

    before = read()
    served.rank.Rank(request(request_id="counted"), timeout=120)
    served.feedback.RecordFeedback(said("counted", stars=2), timeout=120)
    after = read()
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert 'crossrank_feedback_total{kind="stars"}' in grown
    assert 'crossrank_impressions_total{outcome="stored"}' in grown
    assert 'crossrank_calls_total{method="RecordFeedback",status="OK"}' in grown
    assert after['crossrank_impressions_total{outcome="dropped"}'] == 0


def test_a_disk_that_takes_nothing_more_fails_feedback_and_not_ranking(served: Served) -> None:
    served.rank.Rank(request(request_id="full"), timeout=120)
    served.feedback.RecordFeedback(said("full", stars=2), timeout=120)
    limits = resource.prlimit(served.process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        with pytest.raises(grpc.RpcError) as failed:
            served.feedback.RecordFeedback(said("full", stars=3), timeout=120)
        assert served.rank.Rank(request(request_id="lost"), timeout=120).results
    finally:
        resource.prlimit(served.process, resource.RLIMIT_FSIZE, limits)
    assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    served.feedback.RecordFeedback(said("full", stars=4), timeout=120)
    assert [row[6] for row in kept(served.store) if row[0] == "full"] == [2, 4]


def test_health_and_reflection_know_the_service_where_it_is_on(served: Served, server: str) -> None:
    def health(target: str) -> Any:
        with grpc.insecure_channel(target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            return stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=120).status

    def methods(target: str) -> str:
        curl = [str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-methods"]
        return subprocess.run([*curl, f"http://{target}"], capture_output=True, text=True, check=True).stdout

    assert health(served.target) == health_pb2.HealthCheckResponse.SERVING
    assert f"{SERVICE}/RecordFeedback" in methods(served.target)
    with pytest.raises(grpc.RpcError) as unknown:
        health(server)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert "Feedback" not in methods(server)


def test_where_it_is_off_the_method_is_unimplemented(server: str) -> None:
    with grpc.insecure_channel(server) as channel, pytest.raises(grpc.RpcError) as off:
        ranker_pb2_grpc.FeedbackServiceStub(channel).RecordFeedback(said(stars=1), timeout=120)
    assert off.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_feedback_outlives_a_kill_right_after_its_reply(tiny: "ExportReport", tmp_path: Path) -> None:
    store = tmp_path / "store"
    arguments = (str(tiny.directory), "--feedback", str(store), "--feedback-texts")
    with local_server(*arguments) as (target, process), grpc.insecure_channel(target) as channel:
        ranker_pb2_grpc.RankServiceStub(channel).Rank(request(request_id="r"), timeout=120)
        ranker_pb2_grpc.FeedbackServiceStub(channel).RecordFeedback(said("r", "d3", stars=5), timeout=120)
        process.kill()
        process.wait(120)
    assert kept(store) == [("r", "d3", "ranker", "add two numbers", TEXTS[3], "stars", 5, "")]


def test_sigterm_writes_every_answer(tiny: "ExportReport", tmp_path: Path) -> None:
    store = tmp_path / "store"
    with local_server(str(tiny.directory), "--feedback", str(store)) as (target, process):
        with grpc.insecure_channel(target) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            made = (request(texts=["x"] * 100, request_id=f"r{number}") for number in range(100))
            answers = [reply.response.request_id for reply in stub.RankStream(queries(*made), timeout=120)]
            process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    with closing(sqlite3.connect(store)) as database:
        shown = database.execute("SELECT request_id FROM impression").fetchall()
        assert sorted(answers) == sorted(request_id for (request_id,) in shown)
        assert database.execute("SELECT COUNT(*) FROM shown").fetchone() == (10_000,)
    assert list(tmp_path.iterdir()) == [store]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--feedback", "{text}"), "feedback: {text} cannot be used as a store: file is not a database"),
        (("--feedback-texts",), "--feedback-texts: there is no file to keep them in; set feedback too"),
    ],
)
def test_a_start_that_cannot_keep_feedback_is_one_sentence(
    tiny: "ExportReport", tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    text = tmp_path / "text"
    text.write_text("notes " * 300)
    given = [argument.format(text=text) for argument in arguments]
    command = [sys.executable, "-m", "crossrank.cli", "serve", str(tiny.directory), "--port", "0", *given]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 2
    assert outcome.stderr.splitlines()[-1] == f"crossrank: {sentence.format(text=text)}"
    assert "Traceback" not in outcome.stderr
