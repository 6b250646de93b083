"""TLS on both ports of a real server: who is let in, and certificates that change under load."""

import os
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from crossrank.client import RankClient
from crossrank.errors import CrossrankError, UsageError
from crossrank.serve.access.tls import Certificates
from tests.serve.http.conftest import DOCUMENTS, QUERY, Served, serve

BODY = {"query": QUERY, "documents": DOCUMENTS}


class Authority:
    """An authority, and what it signs, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(directory / "ca.pem"))

    def sign(self, name: str = "server", not_after: datetime | None = None) -> tuple[Path, Path]:
        issued = self.ca.issue_cert("localhost", "127.0.0.1", not_after=not_after)
        chain, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return chain, key

    def context(self, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        if pair:
            context.load_cert_chain(*pair)
        return context

    def credentials(self, pair: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
        chain, key = (file.read_bytes() for file in pair) if pair else (None, None)
        return grpc.ssl_channel_credentials((self.directory / "ca.pem").read_bytes(), key, chain)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    (tmp_path / "stranger").mkdir()
    return Authority(tmp_path / "stranger")


def secure(*arguments: str, authority: Authority) -> Iterator[Served]:
    chain, key = authority.sign()
    yield from serve("--tls-cert", str(chain), "--tls-key", str(key), *arguments)


def over_http(served: Served, context: ssl.SSLContext) -> int:
    root = served.root.replace("http://", "https://")
    with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
        return client.post(f"{root}/rerank", json=BODY).status_code


def refused(served: Served, credentials: grpc.ChannelCredentials) -> None:
    with RankClient(served.target, credentials=credentials, timeout=5) as client, pytest.raises(CrossrankError):
        client.rank(QUERY, DOCUMENTS)


def test_both_ports_speak_tls_and_nothing_else(authority: Authority, stranger: Authority) -> None:
    for served in secure(authority=authority):
        assert over_http(served, authority.context()) == 200
        with RankClient(served.target, credentials=authority.credentials()) as client:
            assert client.rank(QUERY, DOCUMENTS)
        with pytest.raises(httpx.ConnectError):
            over_http(served, stranger.context())
        refused(served, stranger.credentials())
        with pytest.raises(httpx.HTTPError):
            httpx.get(served.root.replace("https://", "http://") + "/health", trust_env=False)


def test_callers_need_a_certificate_where_an_authority_is_named(authority: Authority, stranger: Authority) -> None:
    for served in secure("--tls-client-ca", str(authority.directory / "ca.pem"), authority=authority):
        caller = authority.sign("caller")
        assert over_http(served, authority.context(caller)) == 200
        with RankClient(served.target, credentials=authority.credentials(caller)) as client:
            assert client.rank(QUERY, DOCUMENTS)
        expired = authority.sign("expired", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        for pair in (None, stranger.sign("caller"), expired):
            with pytest.raises(httpx.HTTPError):
                over_http(served, authority.context(pair))
            refused(served, authority.credentials(pair))


@pytest.fixture
def secured(authority: Authority) -> Iterator[Served]:
    yield from secure(authority=authority)


def test_certificates_change_under_load_without_a_failed_call(authority: Authority, secured: Served) -> None:
    statuses: list[int] = []
    ended = threading.Event()

    def calls() -> None:
        while not ended.is_set():
            statuses.append(over_http(secured, authority.context()))
            with RankClient(secured.target, credentials=authority.credentials()) as client:
                assert client.rank(QUERY, DOCUMENTS)

    host, _, port = secured.root.removeprefix("https://").rpartition(":")
    before = ssl.get_server_certificate((host, int(port)))
    thread = threading.Thread(target=calls)
    thread.start()
    try:
        chain, key = authority.sign()
        for file in (chain, key):
            os.utime(file, (time.time() + 10, time.time() + 10))
        time.sleep(3)
        assert ssl.get_server_certificate((host, int(port))) != before
        after = ssl.get_server_certificate((host, int(port)))
        chain.write_text("no certificate")
        time.sleep(3)
        assert ssl.get_server_certificate((host, int(port))) == after
    finally:
        ended.set()
        thread.join(120)
    assert set(statuses) == {200}
    assert len(statuses) > 10


@pytest.mark.parametrize("broken", ["chain", "key", "other", "missing"])
def test_files_that_do_not_belong_together_are_refused(authority: Authority, broken: str) -> None:
    chain, key = authority.sign()
    if broken == "other":
        key = authority.sign("another")[1]
    elif broken == "missing":
        key.unlink()
    else:
        (chain if broken == "chain" else key).write_text("nothing")
    with pytest.raises(UsageError):
        Certificates(chain, key, None)
