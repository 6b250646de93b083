import json
from pathlib import Path
from typing import Any

import pytest

from crossrank.errors import UsageError
from crossrank.serve.load_settings import load_settings
from crossrank.serve.settings import RankerSettings, ServerSettings

# A value of each setting that is not its default.
OTHER: dict[str, Any] = {
    "feedback_max_bytes": 2_000_000,
    "metrics_host": "127.0.0.2",
    "connection_idle": 7.5,
    "connection_age": 8.5,
    "connection_grace": 9.5,
    "ranker": "here",
    "rankers": {"other": "there"},
    "variant": "fp32",
    "device": "cuda",
    "workers": 3,
    "host": "0.0.0.0",
    "port": 1,
    "http_port": 2,
    "strict_models": True,
    "keys": "keys.toml",
    "guard": ("docs",),
    "no_auth": True,
    "tls_cert": "chain.pem",
    "tls_key": "key.pem",
    "tls_client_ca": "ca.pem",
    "default_deadline": 2.5,
    "max_documents": 7,
    "max_text_bytes": 8,
    "max_message_bytes": 9,
    "max_requests_in_flight": 11,
    "max_bytes_in_flight": 12,
    "max_queued_tokens": 10,
    "score_cache": 0,
    "document_cache": 0,
    "metrics_port": 9000,
    "feedback": "feedback.db",
    "feedback_texts": True,
    "drain_timeout": 0.5,
    "drain_delay": 0.25,
    "run_limit": 2.5,
    "reload_interval": 0.5,
    "versions": 3,
}


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests' port is not set here."""
    monkeypatch.delenv("CROSSRANK_HTTP_PORT")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text('port = 1\nworkers = 1\nhost = "127.0.0.3"\n[rankers]\nother = "somewhere"\n')
    return path


def test_flag_beats_environment_beats_file_beats_default(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_PORT", "2")
    monkeypatch.setenv("CROSSRANK_WORKERS", "2")
    settings = load_settings({"port": 3}, config)
    assert (settings.port, settings.workers, settings.host, settings.max_documents) == (3, 2, "127.0.0.3", 1000)


def test_rankers_of_all_sources_add_up(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_RANKERS", '{"second": "b", "third": "b"}')
    settings = load_settings({"rankers": {"third": "c"}}, config)
    assert settings.rankers == {
        name: RankerSettings(path=path) for name, path in (("other", "somewhere"), ("second", "b"), ("third", "c"))
    }


def test_file_and_environment_say_variant_and_device_of_a_ranker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(
        '[rankers.a]\npath = "a"\nvariant = "fp16"\ndevice = "cuda"\n[rankers.b]\npath = "b"\nvariant = "x"\n'
    )
    monkeypatch.setenv("CROSSRANK_RANKERS", '{"b": {"path": "other", "device": "cuda"}}')
    settings = load_settings({"rankers": {"c": "c"}, "variant": "fp32"}, config)
    assert settings.rankers == {
        "a": RankerSettings(path="a", variant="fp16", device="cuda"),
        "b": RankerSettings(path="other", device="cuda"),
        "c": RankerSettings(path="c"),
    }
    assert (settings.variant, settings.device) == ("fp32", "cpu")


@pytest.mark.parametrize(
    ("table", "place"),
    [('path = "a"\ndevise = "cpu"', "devise"), ('path = "a"\ndevice = "tpu"', "device"), ("", "path")],
)
def test_a_bad_table_of_a_ranker_is_named_by_its_key(
    tmp_path: Path, table: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(f"[rankers.bad]\n{table}\n")
    monkeypatch.setenv("CROSSRANK_RANKERS", '{"good": "a"}')
    with pytest.raises(UsageError) as refused:
        load_settings({"rankers": {"better": "b"}}, config)
    assert str(refused.value).startswith(f"{config}: rankers.bad.{place}: ")


@pytest.mark.parametrize("name", ServerSettings.model_fields)
def test_environment_and_file_set_every_setting(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"feedback": "feedback.db", name: OTHER[name]} if name == "feedback_texts" else {name: OTHER[name]}
    file = tmp_path / "serve.toml"
    tables = [
        f"{key} = {{ other = {json.dumps(value['other'])} }}\n" for key, value in given.items() if key == "rankers"
    ]
    plain = [f"{key} = {json.dumps(value)}\n" for key, value in given.items() if not isinstance(value, dict)]
    file.write_text("".join(plain + tables))
    by_file = load_settings({}, file)
    for key, value in given.items():
        monkeypatch.setenv(f"CROSSRANK_{key.upper()}", value if isinstance(value, str) else json.dumps(value))
    assert load_settings({}) == by_file == ServerSettings(**given) != ServerSettings()


@pytest.mark.parametrize(
    ("text", "place"),
    [("prot = 1", "prot"), ("port = 70000", "port"), ("rankers = 3", "rankers"), ("port = ", "serve.toml")],
)
def test_a_bad_file_is_one_sentence_with_file_and_key(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_settings({}, path)
    assert str(refused.value).startswith(f"{path}: ")
    assert f"{place}: " in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("RANKERS", "not json"), ("PORT", "70000"), ("RANKERS", "3")])
def test_a_bad_environment_is_one_sentence(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CROSSRANK_{name}", value)
    with pytest.raises(UsageError, match=f'CROSSRANK_{name}: |"{name.lower()}"'):
        load_settings({})


def test_a_bad_flag_is_named_as_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"^--max-documents: "):
        load_settings({"max_documents": 0})


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^{tmp_path / 'none.toml'}: "):
        load_settings({}, tmp_path / "none.toml")


def test_what_kubernetes_sets_beside_a_service_of_our_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for service in ("CROSSRANK", "CROSSRANK_METRICS"):
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.96.7.1")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "80")
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.96.7.1:80")
        monkeypatch.setenv(f"{service}_PORT_80_TCP", "tcp://10.96.7.1:80")
        monkeypatch.setenv(f"{service}_PORT_80_TCP_PORT", "80")
    assert load_settings({}) == ServerSettings()
    (tmp_path / "serve.toml").write_text("port = 7")
    assert load_settings({}, tmp_path / "serve.toml").port == 7


def test_settings_of_a_program_do_not_depend_on_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_PORT", "2")
    assert ServerSettings().port == 50051


@pytest.mark.parametrize("content", [b"port = " + b"9" * 5_000, b"x = " + b"[" * 20_000, b"port = 1\n# caf\xe9", b"\0"])
def test_a_file_that_is_not_toml_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.toml.*: (not valid TOML|not UTF-8|holds a NUL byte)"):
        load_settings({}, config)
    config.write_bytes(b"")
    assert load_settings({}, config).port == 50051
    config.write_text("port = 50052\r\n", encoding="utf-16")
    assert load_settings({}, config).port == 50052
