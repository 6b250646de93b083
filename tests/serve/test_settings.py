from pathlib import Path

import pytest

from crossrank.errors import UsageError
from crossrank.serve.settings import load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text('port = 1\nworkers = 1\nhost = "127.0.0.3"\n[models]\nother = "somewhere"\n')
    return path


def test_flag_beats_environment_beats_file_beats_default(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_PORT", "2")
    monkeypatch.setenv("CROSSRANK_WORKERS", "2")
    settings = load_settings({"port": 3}, config)
    assert (settings.port, settings.workers, settings.host, settings.max_documents) == (3, 2, "127.0.0.3", 1000)
    assert settings.models == {"other": "somewhere"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prot = 1", "prot: Extra inputs are not permitted"),
        ("port = 70000", "port: "),
        ("port = ", "not valid TOML"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        load_settings({}, path)


def test_a_bad_environment_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_MODELS", "not json")
    with pytest.raises(UsageError, match="environment"):
        load_settings({})


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        load_settings({}, tmp_path / "none.toml")
