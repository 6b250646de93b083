"""Reload: a new version of a ranker is opened beside the old one, proved, and takes over; a bad one changes nothing."""

import asyncio
from pathlib import Path

import structlog

from crossrank.errors import CrossrankError, InvalidRanker, first_line
from crossrank.inference.ranker.directory import open_ranker
from crossrank.inference.ranker.hub import locate_ranker
from crossrank.inference.ranker.manifest import read_manifest
from crossrank.serve.engine.engine import Engine
from crossrank.serve.engine.memory import MemoryReturn
from crossrank.serve.engine.registry import ModelRegistry, named_rankers
from crossrank.serve.settings import RankerSettings, ServerSettings

_log = structlog.get_logger()

# Bytes, at least, that a version leaves to the allocator.
_WEIGHTS = 16 * 1024 * 1024

# Names, inodes, times and sizes of a directory's files.
_State = frozenset[tuple[str, int, int, int]]


class Reloader:
    """Reloads the rankers of a server, one at a time.

    Args:
        models: the rankers; loaded before anything is reloaded.
        settings: where they lie.
    """

    def __init__(self, models: ModelRegistry, settings: ServerSettings) -> None:
        self._models = models
        self._settings = settings
        self._rankers = named_rankers(settings)
        self._one_at_a_time = asyncio.Lock()
        # What was opened, or refused, last.
        self._seen = {name: _state(given) for name, given in self._rankers.items()}
        self._memory = MemoryReturn()
        self._ending: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Reloads each ranker whose directory has changed and then stood still from one look to the next."""
        last = dict(self._seen)
        while True:
            await asyncio.sleep(self._settings.reload_interval)
            for name, given in self._rankers.items():
                state = await asyncio.to_thread(_state, given)
                still, last[name] = state == last[name], state
                if still and state and state != self._seen[name]:
                    self._seen[name] = state
                    await self.try_reload(name)

    async def reload_all(self) -> None:
        """Reloads every ranker, those of the Hugging Face hub in what their revision stands for now."""
        for name in self._rankers:
            await self.try_reload(name)

    async def try_reload(self, name: str) -> None:
        """As `reload`; what is wrong with the new version is logged and counted."""
        try:
            await self.reload(name)
        except CrossrankError as error:
            _log.error("reload refused", model=name, reason=str(error))

    async def reload(self, name: str) -> str:
        """Opens a ranker as it is now, and lets it answer in the place of the version before.

        Calls in flight end with the version that they began with.

        Args:
            name: of a ranker of the settings.

        Returns:
            The version that answers.

        Raises:
            InvalidRanker, UsageError: the new version is refused, as `Scorer.open` raises them; the old one answers on.
        """
        async with self._one_at_a_time:
            # No more than one version too many is in memory.
            await asyncio.gather(*self._ending)
            try:
                return await self._reload(name, self._rankers[name])
            except OSError as error:
                self._models.reloads[name, "refused"] += 1
                raise InvalidRanker(f"{name} changed while it was read: {first_line(error)}") from None
            except CrossrankError:
                self._models.reloads[name, "refused"] += 1
                raise

    async def _reload(self, name: str, given: RankerSettings) -> str:
        directory = await asyncio.to_thread(locate_ranker, given.path)
        version = read_manifest(directory).version
        loaded = self._models.versions(name)
        if version in loaded:
            await asyncio.to_thread(open_ranker, directory)
        if version == loaded[0]:
            return version
        if version in loaded:
            self._models.promote(name, version)
        else:
            engine = await asyncio.to_thread(self._models.open, name, given, self._settings)
            version = engine.scorer.version
            for old in self._models.swap(name, engine, self._settings.versions):
                ending = asyncio.create_task(self._retire(old))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
        self._models.reloads[name, "swapped"] += 1
        _log.info("reloaded", model=name, version=version)
        return version

    async def _retire(self, engine: Engine) -> None:
        await self._models.retire(engine)
        self._memory.freed(_WEIGHTS)


def _state(given: RankerSettings) -> _State:
    """What the files of a ranker's directory look like; empty for one of the hub, and while a directory is replaced."""
    directory = Path(given.path)
    try:
        files = [(path, path.stat()) for path in directory.rglob("*") if path.is_file()]
    except OSError:
        return frozenset()
    return frozenset((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size) for path, stat in files)
