"""Keys on a real server: every form that clients send, over gRPC and HTTP, and what is open without one."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossrank.client import RankClient
from crossrank.errors import Unauthenticated, UsageError
from crossrank.serve.access.gate import Access
from crossrank.serve.access.keys import Keys, new_key
from crossrank.serve.settings import ServerSettings
from tests.serve.http.conftest import DOCUMENTS, QUERY, Served, serve

BODY = {"query": QUERY, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def key_and_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    key, table = new_key("team")
    file.write_text(table + new_key("other")[1])
    return key, file


@pytest.fixture(scope="module")
def guarded(key_and_file: tuple[str, Path]) -> Iterator[Served]:
    yield from serve("--keys", str(key_and_file[1]), "--guard", "docs")


@pytest.fixture
def http(guarded: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.root, timeout=60, trust_env=False) as client:
        yield client


def test_every_place_in_which_clients_put_a_key_is_read(http: httpx.Client, key_and_file: tuple[str, Path]) -> None:
    key = key_and_file[0]
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key}"},
        {"Authorization": key},
        {"Api-Key": key},
        {"x-api-key": key},
        {"Authorization": "Bearer None", "x-api-key": key},
    ):
        assert http.post("/v1/rerank", json=BODY, headers=headers).status_code == 200, headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer None"},
        {"Authorization": "Bearer " + "a" * 5000},
        {"x-api-key": "wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_without_the_key_nothing_is_ranked(http: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("/rerank", "/v1/rerank", "/v2/rerank", "//rerank", "/score", "/nothing"):
        answer = http.post(path, json=BODY, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["message"]


def test_of_two_headers_of_one_name_the_first_counts(http: httpx.Client, key_and_file: tuple[str, Path]) -> None:
    right, wrong = ("Authorization", f"Bearer {key_and_file[0]}"), ("Authorization", "Bearer wrong")
    assert http.post("/rerank", json=BODY, headers=[right, wrong]).status_code == 200
    assert http.post("/rerank", json=BODY, headers=[wrong, right]).status_code == 401


def test_what_is_open_and_what_is_guarded(http: httpx.Client) -> None:
    for path in ("/health", "/ping", "/info", "/meta", "/.well-known/live"):
        assert http.get(path).is_success
    for path in ("/docs", "/openapi.json", "/v1/models", "/static-offline-docs/swagger-ui.css"):
        assert http.get(path).status_code == 401


def test_grpc_asks_for_the_same_key(guarded: Served, key_and_file: tuple[str, Path]) -> None:
    with RankClient(guarded.target, metadata={"authorization": f"Bearer {key_and_file[0]}"}) as client:
        assert client.rank(QUERY, DOCUMENTS)
        assert len(list(client.rank_many([(QUERY, DOCUMENTS)]))) == 1
    for metadata in ({}, {"authorization": "Bearer wrong"}):
        with RankClient(guarded.target, metadata=metadata) as client, pytest.raises(Unauthenticated):
            client.rank(QUERY, DOCUMENTS)
    with grpc.insecure_channel(guarded.target) as channel:
        request = health_pb2.HealthCheckRequest()
        assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=60).status == 1  # type: ignore[attr-defined]


def test_many_wrong_tries_change_nothing(http: httpx.Client, key_and_file: tuple[str, Path]) -> None:
    for number in range(1000):
        assert http.get("/v1/models", headers={"x-api-key": f"wrong {number}"}).status_code == 401
    assert http.get("/v1/models", headers={"x-api-key": key_and_file[0]}).status_code == 200


def test_a_changed_file_is_read_again_and_a_bad_one_keeps_the_old(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first, table = new_key("first")
    file.write_text(table)
    keys = Keys(file, None)
    assert keys.caller({"authorization": f"Bearer {first}"}) == "first"

    def later(text: str) -> None:
        file.write_text(text)
        os.utime(file, (time.time() + 10, time.time() + 10))
        time.sleep(1.1)  # it looks once a second

    later("[keys.first]\nsha256 = 1\n")
    assert keys.caller({"x-api-key": first}) == "first"
    second, table = new_key("second")
    later(table)
    assert keys.caller({"x-api-key": second}) == "second"
    with pytest.raises(Unauthenticated):
        keys.caller({"x-api-key": first})


@pytest.mark.parametrize("text", ["", "keys = 1", '[keys.a]\nsha256 = "secret"\n', "[keys.a]\nother = 1\n", "\x00"])
def test_a_file_that_is_none_of_keys_is_refused_without_its_values(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        Keys(file, None)
    assert "secret" not in str(refused.value)


def test_limits_of_a_key_refuse_that_caller_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    (slow, table), (free, other) = new_key("slow"), new_key("free")
    file.write_text(f"{table}tokens_per_second = 1\n{other}")
    for served in serve("--keys", str(file)):
        statuses = [
            httpx.post(f"{served.root}/rerank", json=BODY, headers={"x-api-key": slow}, trust_env=False)
            for _ in range(3)
        ]
        assert [answer.status_code for answer in statuses] == [200, 429, 429]
        assert int(statuses[1].headers["retry-after"]) > 1
        answer = httpx.post(f"{served.root}/rerank", json=BODY, headers={"x-api-key": free}, trust_env=False)
        assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_keys(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        Access(ServerSettings(host=host))
    Access(ServerSettings(host=host, no_auth=True))
    monkeypatch.setenv("CROSSRANK_KEY", "k")
    assert Access(ServerSettings(host=host)).keys.caller({"api-key": "k"}) == "default"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    Access(ServerSettings(host=host))
