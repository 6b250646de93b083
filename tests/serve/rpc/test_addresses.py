"""Addresses and paths as people write them."""

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossrank.client import RankClient
from crossrank.errors import CrossrankError, UsageError
from crossrank.inference.ranker.hub import DEFAULT_RANKER, locate_ranker
from crossrank.serve.load_settings import load_settings
from crossrank.serve.local import local_server


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "127.0.0.1", "localhost"])
def test_every_form_of_a_host_is_listened_on(host: str) -> None:
    with (
        local_server("--host", host, "--no-auth", "--metrics-port", "0") as server,
        RankClient(server.target) as client,
    ):
        assert len(client.rank("a", ["b"])) == 1


@pytest.fixture
def path() -> Iterator[Path]:
    # The path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="crossrank") as directory:
        yield Path(directory) / "socket"


def test_a_unix_socket_is_served_and_removed(path: Path) -> None:
    with local_server("--host", f"unix:{path}", "--metrics-port", "0") as server:
        assert server.target == f"unix:{path}"
        with RankClient(server.target) as client:
            assert len(client.rank("a", ["b"])) == 1
        server.process.terminate()
        assert server.process.wait(120) == 0
    assert not path.exists()


def test_a_socket_that_nobody_answers_on_is_replaced(path: Path) -> None:
    with local_server("--host", f"unix:{path}") as killed:
        killed.process.kill()
        killed.process.wait(120)
        assert path.is_socket()
    with local_server("--host", f"unix:{path}") as server, RankClient(server.target) as client:
        assert len(client.rank("a", ["b"])) == 1
        with pytest.raises(CrossrankError, match="another server listens"), local_server("--host", f"unix:{path}"):
            pass
        assert len(client.rank("a", ["b"])) == 1


def test_a_file_is_no_socket_to_replace(path: Path) -> None:
    path.write_text("kept")
    with pytest.raises(CrossrankError, match="host: "), local_server("--host", f"unix:{path}"):
        pass
    assert path.read_text() == "kept"


@pytest.mark.parametrize("field", ["port", "http_port"])
def test_a_unix_socket_has_no_port(field: str) -> None:
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')}: "):
        load_settings({"host": "unix:/run/crossrank", field: 50052})


def test_metrics_have_a_host_of_their_own() -> None:
    with local_server(
        "--host", "::1", "--metrics-host", "127.0.0.1", "--metrics-port", "0", log=subprocess.PIPE
    ) as server:
        assert server.process.stderr is not None
        lines = (json.loads(line) for line in server.process.stderr)
        told = next(line for line in lines if line["event"] == "metrics")
        with urllib.request.urlopen(f"http://127.0.0.1:{told['port']}/metrics", timeout=120) as reply:
            assert b"crossrank_build_info" in reply.read()
        server.process.terminate()
        server.process.communicate(timeout=120)


def test_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(DEFAULT_RANKER, tmp_path / "ranker")
    assert locate_ranker("~/ranker") == tmp_path / "ranker"
    assert load_settings({"feedback": "~/feedback.db"}).feedback == tmp_path / "feedback.db"


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 7\n", encoding="utf-8-sig")
    assert load_settings({}, tmp_path / "config.toml").port == 7
