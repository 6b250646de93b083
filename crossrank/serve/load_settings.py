"""Where settings come from: a flag beats the environment, the environment beats the file, the file the default."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from crossrank.data.formats.text import read_toml
from crossrank.errors import UsageError
from crossrank.serve.settings import RankerSettings, ServerSettings

# Beside a Service "crossrank" Kubernetes sets CROSSRANK_PORT=tcp://10.0.0.1:80, beside "crossrank-metrics" the like: no
# setting has such a value.
_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://")


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> ServerSettings:
    """Reads the settings from flags, environment and file.

    Args:
        flags: the flags that were given, by field name.
        config: a TOML file.

    Raises:
        UsageError: a file that cannot be read, an unknown key, a value out of range; the message begins with its place.
    """
    file = _file(config) if config else {}
    environment = _environment()
    tables = [source["rankers"] for source in (file, environment, flags) if isinstance(source.get("rankers"), dict)]
    values = {**file, **environment, **flags}
    if len(tables) > 1:
        values["rankers"] = {name: ranker for table in tables for name, ranker in table.items()}
    try:
        return ServerSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name, *inner = map(str, first["loc"])
        sources = (
            (f"--{name.replace('_', '-')}", flags),
            (f"CROSSRANK_{name.upper()}", environment),
            (f"{config}: {name}", file),
        )
        # The tables of rankers add up, so that a stronger source may hold others than the one that is wrong.
        place = next(
            place
            for place, source in sources
            if name in source and (not inner or not isinstance(source[name], dict) or inner[0] in source[name])
        )
        what = first["msg"]
        if first["type"] == "extra_forbidden":
            what = "not a setting; `crossrank serve --help` lists them"
            if inner:
                what = f"not a setting of a ranker; it has {', '.join(RankerSettings.model_fields)}"
        raise UsageError(f"{'.'.join((place, *inner))}: {what}") from None


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(ServerSettings)
    source.env_vars = {
        name: value for name, value in source.env_vars.items() if not (value and _OF_A_SERVICE.match(value))
    }
    try:
        return source()
    except SettingsError as error:
        raise UsageError(f"environment: {error}; write a table as JSON") from None


def _file(config: Path) -> dict[str, Any]:
    try:
        return read_toml(config)
    except OSError as error:
        raise UsageError(f"{config}: {error.strerror}; name a TOML file") from None
