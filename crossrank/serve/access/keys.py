"""API keys: hashed in a file, several with a name each, read again when the file changes."""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossrank.errors import Unauthenticated, UsageError
from crossrank.serve.access.watched import FileWatch

_log = structlog.get_logger()

# Where clients put a key, in the order in which they are read.
_HEADERS = ("authorization", "x-api-key", "api-key")
_BEARER = re.compile(r"bearer +", re.IGNORECASE)
# Longer ones are no keys of ours: hashing them would be work for whoever sends them.
_LONGEST = 1000


class Key(BaseModel):
    """A table `[keys.NAME]` of the file.

    Attributes:
        sha256: of the key, in hexadecimal digits. Keys are long and random, so that nothing is to be guessed from it.
        max_requests_in_flight: of this caller; None for the server's own.
        tokens_per_second: that this caller may have scored over time; None for no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    max_requests_in_flight: int | None = Field(None, ge=1)
    tokens_per_second: float | None = Field(None, gt=0)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: dict[str, Key]


class Keys:
    """The keys of a server.

    Args:
        file: TOML; None where there is none.
        single: one more key, which is called "default"; None where there is none.

    Raises:
        UsageError: the file cannot be read or holds something else.
    """

    def __init__(self, file: Path | None, single: str | None) -> None:
        self._file = file
        self._single = {"default": Key(sha256=_digest(single))} if single else {}
        self._watch = FileWatch(file) if file else None
        self._keys: dict[str, Key] = {**(read_keys(file) if file else {}), **self._single}

    @property
    def required(self) -> bool:
        """Whether calls need a key."""
        return self._file is not None or bool(self._single)

    def caller(self, headers: Mapping[str, str]) -> str:
        """The name of the key that a call brings; "" where none is required.

        Args:
            headers: of HTTP or gRPC, their names in lower case.

        Raises:
            Unauthenticated: it brings none, or a wrong one.
        """
        if not self.required:
            return ""
        self._reload()
        for header in _HEADERS:
            if (given := headers.get(header)) is not None and (name := self._name(_BEARER.sub("", given, 1))):
                return name
        raise Unauthenticated("key: missing or wrong; send it as `Authorization: Bearer KEY`")

    def limits(self, name: str) -> Key | None:
        """What the file says of a caller."""
        return self._keys.get(name)

    def _name(self, given: str) -> str | None:
        if not given or len(given) > _LONGEST:
            return None
        digest = _digest(given)
        # All are compared, each in constant time: how long it takes tells nothing.
        found = [name for name, key in self._keys.items() if hmac.compare_digest(digest, key.sha256)]
        return found[0] if found else None

    def _reload(self) -> None:
        if self._file is None or self._watch is None or not self._watch.changed():
            return
        try:
            self._keys = {**read_keys(self._file), **self._single}
        except UsageError as error:
            _log.error("keys not reloaded", reason=str(error))
        else:
            _log.info("keys reloaded", keys=len(self._keys))


def read_keys(file: Path) -> dict[str, Key]:
    """Reads a file of keys.

    Raises:
        UsageError: it cannot be read or holds something else; the message never holds a value of it.
    """
    try:
        return _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig"))).keys
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; name a file of keys") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"{file}: not valid TOML") from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(f"{file}: {place}: {error.errors()[0]['msg']}") from None


def new_key(name: str) -> tuple[str, str]:
    """Makes a key.

    Returns:
        The key, and the table for the file.

    Raises:
        UsageError: the name cannot be one of a table.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise UsageError(f"{name!r}: not a name of a key; take letters, digits, - and _")
    key = secrets.token_urlsafe(32)
    return key, f'[keys.{name}]\nsha256 = "{_digest(key)}"\n'


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
