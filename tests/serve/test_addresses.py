"""Addresses and paths as people write them."""

import shutil
from pathlib import Path

import pytest

from crossrank.client import RankClient
from crossrank.inference.hub import DEFAULT_RANKER, locate_ranker
from crossrank.serve.local import local_server
from crossrank.serve.settings import load_settings


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "127.0.0.1", "localhost"])
def test_every_form_of_a_host_is_listened_on(host: str) -> None:
    with local_server("--host", host, "--metrics-port", "0") as server, RankClient(server.target) as client:
        assert len(client.rank("a", ["b"])) == 1


def test_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(DEFAULT_RANKER, tmp_path / "ranker")
    assert locate_ranker("~/ranker") == tmp_path / "ranker"
    assert load_settings({"feedback": "~/feedback.db"}).feedback == tmp_path / "feedback.db"


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 7\n", encoding="utf-8-sig")
    assert load_settings({}, tmp_path / "config.toml").port == 7
