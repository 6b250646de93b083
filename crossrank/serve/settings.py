"""Settings of a server: a flag beats the environment, the environment beats the file, the file beats the default."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from crossrank.errors import UsageError

MIB = 1024 * 1024


class ServerSettings(BaseSettings):
    """Every setting of `crossrank serve`; `CROSSRANK_PORT` in the environment and `port = …` in the file set `port`."""

    model_config = SettingsConfigDict(env_prefix="CROSSRANK_", extra="forbid", frozen=True)

    ranker: str | None = Field(None, description="directory or Hugging Face id of the default ranker")
    models: dict[str, str] = Field(
        default_factory=dict, description="further rankers by name; those of all sources together"
    )
    variant: str | None = Field(
        None, description="name, file name or precision of the graph; default: the fastest that this machine runs right"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="execution provider")
    workers: int | None = Field(None, ge=1, description="threads of each ranker; default: usable cores, divided")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(50051, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    default_deadline: float = Field(30.0, gt=0, description="seconds for a call that brings no deadline")
    max_documents: int = Field(1000, ge=1, description="documents or pairs of one call")
    max_text_bytes: int = Field(2 * MIB, ge=1, description="UTF-8 bytes of one query or document")
    max_message_bytes: int = Field(64 * MIB, ge=1, description="bytes of one request message")
    max_queued_tokens: int = Field(2_000_000, ge=1, description="tokens that may wait before calls are refused")
    score_cache: int = Field(100_000, ge=0, description="scores that are kept for each ranker; 0 keeps none")
    document_cache: int = Field(
        200_000, ge=0, description="tokens of documents that are kept for each ranker; 0 keeps none"
    )
    metrics_port: int | None = Field(None, ge=0, le=65535, description="port for Prometheus; default: none")
    feedback: Path | None = Field(
        None, description="SQLite file that keeps what was shown and what users say of it; default: none"
    )
    feedback_texts: bool = Field(False, description="whether queries and shown documents are kept there too")
    drain: float = Field(30.0, ge=0, description="seconds that calls in flight get after SIGTERM")

    @field_validator("feedback_texts")
    @classmethod
    def _texts_need_a_file(cls, given: bool, info: ValidationInfo) -> bool:
        if given and info.data.get("feedback") is None:
            raise PydanticCustomError("no_feedback", "has no file to keep them in; set feedback too")
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
        """Flags, then environment; `load_settings` adds the file below both."""
        return init_settings, env_settings


def load_settings(flags: dict[str, Any], config: Path | None = None) -> ServerSettings:
    """Reads the settings from flags, environment and file.

    Args:
        flags: the flags that were given, by field name.
        config: a TOML file.

    Raises:
        UsageError: a file that cannot be read, an unknown key, a value out of range.
    """

    class WithFile(ServerSettings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            above = super().settings_customise_sources(settings_cls, *sources, **named)
            return (*above, TomlConfigSettingsSource(settings_cls, toml_file=config)) if config else above

    if config is not None and not config.is_file():
        raise UsageError(f"{config} is not a file")
    try:
        return WithFile(**flags)
    except SettingsError as error:
        raise UsageError(f"the environment holds a setting that cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{name}: {first['msg']}") from None
