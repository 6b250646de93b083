"""Settings of a server, with the defaults and what each of them is for."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from crossrank.paths import from_home

KIB = 1024
MIB = 1024 * KIB

Device: TypeAlias = Literal["cpu", "cuda"]
Guarded: TypeAlias = Literal["health", "metrics", "info", "docs"]


class RankerSettings(BaseModel):
    """A further ranker of a server: a table `[rankers.NAME]`; a string in its place is its path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="Directory or Hugging Face id (ID@REVISION) of the ranker.")
    variant: str | None = Field(None, description="Its variant. Default: the server's.")
    device: Device | None = Field(None, description="Where it runs. Default: the server's.")

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given


class ServerSettings(BaseSettings):
    """Every setting of `crossrank serve`.

    `port` is `--port` on the command line, `CROSSRANK_PORT` in the environment and `port = 50051` in the file.
    `rankers` is `--ranker NAME=PATH`, as often as needed, `CROSSRANK_RANKERS` in JSON, and a table `[rankers]`, whose
    entries are paths or tables of `RankerSettings`. `variant` and `device` hold for rankers that do not say their own.
    """

    model_config = SettingsConfigDict(env_prefix="CROSSRANK_", extra="forbid", frozen=True)

    ranker: str | None = Field(
        None,
        description="Directory or Hugging Face id (ID@REVISION) of the default ranker. "
        "Default: the one that comes with crossrank.",
    )
    rankers: dict[str, RankerSettings] = Field(
        default_factory=dict,
        description="Name of a further ranker, and its directory or Hugging Face id. "
        "A table [rankers.NAME] of the file may also hold its variant and its device.",
    )
    variant: str | None = Field(
        None,
        description="Name, file name or precision of the variant of every ranker without its own. "
        "Default: the fastest that gives its golden scores on this machine.",
    )
    device: Device = Field("cpu", description="Where rankers without their own device run, on the cpu or with cuda.")
    workers: int | None = Field(
        None, ge=1, description="Threads that run each ranker. Default: the usable cores, divided among the rankers."
    )
    host: str = Field("127.0.0.1", description="Address to listen on, or unix:PATH for gRPC on a Unix socket.")
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on. 0 takes a free one.")
    http_port: Annotated[int, Field(ge=0, le=65535)] | Literal["none"] = Field(
        8080, description="Port of the HTTP dialects. 0 takes a free one; `none` switches HTTP off."
    )
    strict_models: bool = Field(
        False, description="Refuse names of models that are not served over HTTP. Default: the default ranker answers."
    )
    keys: Path | None = Field(
        None,
        description="TOML file of API keys, of which calls must bring one; `crossrank new-key` makes them. "
        "CROSSRANK_KEY in the environment is one more.",
    )
    guard: tuple[Guarded, ...] = Field(
        (), description="What needs a key beside ranking: health, metrics, info or docs, which are open otherwise."
    )
    no_auth: bool = Field(
        False,
        description="Listen on an address that others reach without keys and client certificates.",
    )
    tls_cert: Path | None = Field(None, description="PEM file of the certificate chain; both ports then speak TLS.")
    tls_key: Path | None = Field(None, description="PEM file of its key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the authority that must have signed the certificate of each caller."
    )
    default_deadline: float = Field(30.0, gt=0, description="Seconds for a call that brings no deadline.")
    max_documents: int = Field(1000, ge=1, description="Largest number of documents or pairs in a call.")
    max_text_bytes: int = Field(
        128 * KIB,
        ge=1,
        description="Largest query or document in bytes of UTF-8. The default is some 60 pages, of which `truncate` "
        "reads the first few.",
    )
    max_message_bytes: int = Field(
        16 * MIB, ge=1, description="Largest request in bytes. The default is 1000 documents of 16 KiB."
    )
    max_requests_in_flight: int = Field(
        1000,
        ge=1,
        description="Requests that are held at once, queries of streams included, before more are refused. "
        "The default is far more than the cores can answer in time.",
    )
    max_bytes_in_flight: int = Field(
        32 * MIB,
        ge=1,
        description="Bytes of the requests that are held at once. The default is two of the largest requests; "
        "each byte takes a few in memory.",
    )
    max_queued_tokens: int = Field(
        2_000_000, ge=1, description="Tokens that may wait for each ranker before calls are refused."
    )
    score_cache: int = Field(100_000, ge=0, description="Scores to keep for each ranker. 0 keeps none.")
    document_cache: int = Field(200_000, ge=0, description="Tokens of documents to keep for each ranker. 0 keeps none.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics for Prometheus. Default: no metrics."
    )
    metrics_host: str | None = Field(None, description="Address of /metrics. Default: the host.")
    connection_idle: float = Field(
        300.0, gt=0, description="Seconds without a call after which a connection is closed; clients connect again."
    )
    connection_age: float = Field(
        1800.0, gt=0, description="Seconds after which a connection takes no new calls, so that balancers spread them."
    )
    connection_grace: float = Field(
        300.0, gt=0, description="Seconds that the calls of such a connection, and its streams, have to end."
    )
    feedback: Path | None = Field(
        None, description="SQLite file for answers and what users say about them. Default: nothing is kept."
    )
    feedback_max_bytes: int = Field(
        10 * KIB * MIB, ge=MIB, description="Largest size of that file; what comes after is refused."
    )
    feedback_texts: bool = Field(False, description="Also keep queries and shown documents there.")
    drain_timeout: float = Field(30.0, ge=0, description="Seconds for calls in flight after SIGTERM.")
    drain_delay: float | None = Field(
        None,
        ge=0,
        description="Seconds after SIGTERM in which health says NOT_SERVING and calls are still answered, for load "
        "balancers to notice. Default: 5, or 0 on a terminal.",
    )
    reload_interval: float = Field(
        5.0,
        ge=0,
        description="Seconds between two looks whether a ranker's directory has changed; what has changed and then "
        "stands still is reloaded. 0 never looks; SIGHUP reloads too.",
    )
    versions: int = Field(
        2, ge=1, description="Versions of each ranker that stay loaded after a reload, for requests of name@version."
    )
    run_limit: float = Field(
        30.0,
        gt=0,
        description="Seconds that a run of a model may take before it is ended, if 20 times its prediction is shorter. "
        "A server where it does not end takes itself out of service and exits with 70.",
    )

    @field_validator("host", "metrics_host")
    @classmethod
    def _without_brackets(cls, host: str | None) -> str | None:
        return host[1:-1] if host and host.startswith("[") and host.endswith("]") else host

    @field_validator("port", "http_port")
    @classmethod
    def _no_port_of_a_socket(cls, port: int | str, info: ValidationInfo) -> int | str:
        default = cls.model_fields[str(info.field_name)].default
        if port not in (default, 0, "none") and str(info.data.get("host")).startswith("unix:"):
            raise PydanticCustomError("no_port", "a Unix socket has none; leave it out, or give another host")
        return port

    @field_validator("metrics_host")
    @classmethod
    def _metrics_need_a_host(cls, host: str | None, info: ValidationInfo) -> str | None:
        if host and host.startswith("unix:"):
            raise PydanticCustomError("no_host", "metrics need an address, not a Unix socket")
        return host

    @field_validator("feedback", "keys", "tls_cert", "tls_key", "tls_client_ca")
    @classmethod
    def _from_home(cls, file: Path | None) -> Path | None:
        return file and from_home(file)

    @field_validator("feedback_texts")
    @classmethod
    def _texts_need_a_file(cls, given: bool, info: ValidationInfo) -> bool:
        if given and info.data.get("feedback") is None:
            raise PydanticCustomError("no_feedback", "there is no file to keep them in; set feedback too")
        return given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments alone: what a program writes does not depend on its environment."""
        return (init_settings,)


def address_of(host: str, port: int) -> str:
    """Joins a host and a port; an IPv6 address goes into brackets, a Unix socket stays alone."""
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
