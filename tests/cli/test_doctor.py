"""`crossrank doctor`: what it finds on a sound machine, and on one that lacks something."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from crossrank.cli.commands.doctor import BROKEN, Page
from crossrank.serve.settings import ServerSettings
from tests.support.commands import crossrank


def found(*arguments: str, code: int = 0) -> Page:
    done = crossrank("doctor", "--json", *arguments)
    assert done.returncode == code, done.stdout
    return Page.model_validate(json.loads(done.stdout))


def row(page: Page, name: str) -> Any:
    return next(each for each in page.rows if each.name == name)


def test_a_sound_installation() -> None:
    page = found()
    assert page.versions.keys() >= {"python", "crossrank", "onnxruntime", "tokenizers", "grpcio", "protobuf"}
    assert page.golden_error is not None
    assert page.golden_error < 0.1
    assert page.pairs_per_second is not None
    assert page.pairs_per_second > 0
    assert {"providers", "instruction set", "cores", "memory", "HOME", "proxies", "environment"} <= {
        each.name for each in page.rows
    }
    assert all(bool(each.advice) == (each.state != "ok") for each in page.rows)


def test_a_ranker_that_is_none_is_broken(tmp_path: Path) -> None:
    assert row(found("--ranker", str(tmp_path), code=BROKEN), "ranker").state == "broken"


def test_both_wheels_of_onnxruntime_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossrank.inference.session.installed_wheels", lambda: ["onnxruntime", "onnxruntime-gpu"])
    assert row(found(code=BROKEN), "wheels").state == "broken"


def test_values_of_the_environment_stay_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setenv("CROSSRANK_RANKER", "hunter2")
    monkeypatch.setenv("https_proxy", "http://anna:hunter2@proxy.invalid:3128")
    done = crossrank("doctor", "--json")
    assert "hunter2" not in done.stdout + done.stderr
    page = Page.model_validate(json.loads(done.stdout))
    assert {"HF_TOKEN", "CROSSRANK_RANKER"} <= set(row(page, "environment").found.split(", "))
    assert row(page, "proxies").state == "warning"
    assert "proxy.invalid" in row(page, "proxies").found


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ServerSettings.model_fields["port"], "default", port)
        assert row(found(), f"port {port}").state == "warning"


def test_no_home_and_a_place_that_may_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("HF_HOME", "/proc/none")
    page = found()
    assert [row(page, name).state for name in ("HOME", "Hugging Face cache")] == ["warning", "warning"]


@pytest.mark.parametrize("columns", [80, 200])
def test_it_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = crossrank("doctor").stdout.splitlines()
    assert max(map(len, lines)) <= columns
