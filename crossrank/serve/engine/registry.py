"""Model registry: the rankers of a server, by name and version."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import structlog

from crossrank.errors import Unavailable, UnknownModel, UsageError
from crossrank.inference.ranker.hub import DEFAULT_RANKER, DEFAULT_SENTENCE
from crossrank.inference.scorer import Scorer
from crossrank.machine import usable_cores
from crossrank.reranker import ScoreKind
from crossrank.serve.engine.engine import Engine
from crossrank.serve.settings import RankerSettings, ServerSettings
from crossrank.v1 import ranker_pb2

# Digits of a version that are enough to name it.
_DIGITS = 6
# Seconds between two looks whether the last call of an old version has ended.
_LOOK = 0.05

_log = structlog.get_logger()
_KINDS: dict[ScoreKind, ranker_pb2.ScoreKind.ValueType] = {
    "logit": ranker_pb2.SCORE_KIND_LOGIT,
    "probability": ranker_pb2.SCORE_KIND_PROBABILITY,
}


class ModelRegistry:
    """Engines by name, each in the versions that are loaded; the first name answers where a request names none.

    Only the event loop changes it after `load`.

    Attributes:
        reloads: how many of a name ended how: "swapped" or "refused".
    """

    def __init__(self) -> None:
        # The newest version first: it answers where a request names none.
        self._engines: dict[str, list[Engine]] = {}
        # Taken out, while calls are in flight.
        self._retired: list[tuple[str, Engine]] = []
        self._workers = 1
        self.reloads: Counter[tuple[str, str]] = Counter()

    def load(self, settings: ServerSettings) -> None:
        """Opens every ranker of the settings; the default one where they name none.

        Raises:
            UsageError: one name stands for two.
            InvalidRanker: one of them cannot be served.
        """
        named = named_rankers(settings)
        if not (settings.ranker or settings.rankers):
            _log.info(DEFAULT_SENTENCE)
        # Together the rankers have as many workers as there are cores, and each has one at least.
        self._workers = settings.workers or max(1, usable_cores() // len(named))
        self._engines = {name: [self.open(name, given, settings)] for name, given in named.items()}

    def open(self, name: str, given: RankerSettings, settings: ServerSettings) -> Engine:
        """Opens a ranker as it is now, and proves it on its golden pairs; nothing answers with it yet.

        Raises:
            InvalidRanker, UsageError: as `Scorer.open` raises them.
        """
        scorer = Scorer.open(
            given.path,
            variant=given.variant or settings.variant,
            device=given.device or settings.device,
            workers=self._workers,
            score_cache=settings.score_cache,
            document_cache=settings.document_cache,
        )
        for reason in scorer.rejected_variants:
            _log.warning("variant rejected", model=name, variant=scorer.variant.file, reason=reason)
        return Engine(scorer, settings.max_queued_tokens)

    def swap(self, name: str, engine: Engine, keep: int) -> list[Engine]:
        """Lets a new version answer from now on.

        Args:
            name: of a ranker that is loaded.
            engine: the version.
            keep: how many versions stay.

        Returns:
            The versions that answer no further call; `retire` ends each after its last one.
        """
        versions = [engine, *self._engines[name]]
        self._engines[name] = versions[:keep]
        self._retired += [(name, old) for old in versions[keep:]]
        return versions[keep:]

    async def retire(self, engine: Engine) -> None:
        """Closes a version that `swap` took out, once its calls have ended."""
        while engine.calls:
            await asyncio.sleep(_LOOK)
        await asyncio.to_thread(engine.close)
        self._retired = [(name, other) for name, other in self._retired if other is not engine]

    def versions(self, name: str) -> list[str]:
        """The versions of a ranker that are loaded, the one that answers first."""
        return [engine.scorer.version for engine in self._engines[name]]

    def promote(self, name: str, version: str) -> None:
        """Lets a version that is still loaded answer again."""
        versions = self._engines[name]
        versions.insert(0, versions.pop(self.versions(name).index(version)))

    def engines(self) -> Iterable[tuple[str, Engine]]:
        """The newest engine of each name."""
        return [(name, versions[0]) for name, versions in self._engines.items()]

    def all_engines(self) -> Iterable[tuple[str, Engine]]:
        """Every engine that has workers, older versions too."""
        return [*((name, engine) for name, versions in self._engines.items() for engine in versions), *self._retired]

    def names(self) -> Iterable[str]:
        """The names of the rankers, the default one first."""
        return self._engines.keys()

    def get(self, model: str) -> tuple[str, Engine]:
        """The name and the engine that "name", "name@version" or "" stands for.

        Of a version its first six digits are enough.

        Raises:
            UnknownModel: there is none.
            Unavailable: nothing is loaded yet.
        """
        self.require_loaded()
        name, _, version = model.partition("@")
        name = name or next(iter(self._engines))
        versions = self._engines.get(name)
        if versions is None:
            raise UnknownModel(f"model: {name!r} is not one of {', '.join(self._engines)}")
        if not version:
            return name, versions[0]
        for engine in versions:
            if engine.scorer.version == version or (
                len(version) >= _DIGITS and engine.scorer.version.startswith(version)
            ):
                return name, engine
        loaded = ", ".join(engine.scorer.version for engine in versions)
        raise UnknownModel(f"model: {name} is loaded in version {loaded}, not {version}")

    def require_loaded(self) -> None:
        """Raises Unavailable until `load` has opened the rankers."""
        if not self._engines:
            raise Unavailable("the server is starting")

    def describe(self) -> list[ranker_pb2.Model]:
        """One message for each ranker in its newest version, the default one first."""
        default = next(iter(self._engines), None)
        return [
            ranker_pb2.Model(
                name=name,
                version=scorer.version,
                variant=scorer.variant.file,
                precision=scorer.variant.precision,
                provider=scorer.session.provider,
                max_length=scorer.facts.max_length,
                default_score_kind=_KINDS[scorer.default_kind],
                is_default=name == default,
            )
            for name, scorer in ((name, engine.scorer) for name, engine in self.engines())
        ]

    def close(self) -> None:
        """Ends all engines."""
        for _, engine in self.all_engines():
            engine.close()


def named_rankers(settings: ServerSettings) -> dict[str, RankerSettings]:
    """The rankers of a server by name, the default one first.

    Raises:
        UsageError: one name stands for two.
    """
    named: dict[str, RankerSettings] = {}
    if settings.ranker is not None:
        named[_default_name(settings.ranker)] = RankerSettings(path=settings.ranker)
    for name, given in settings.rankers.items():
        if name in named:
            raise UsageError(f"two rankers are called {name}; give one of them another name with --ranker NAME=PATH")
        if not name or "@" in name:
            raise UsageError(f"{name!r} cannot be the name of a model: it is empty or has an @")
        named[name] = given
    if not named:
        named["default"] = RankerSettings(path=str(DEFAULT_RANKER))
    return named


def _default_name(given: str) -> str:
    """A directory's name; of a Hugging Face id what stands behind the organisation, without its revision."""
    path = Path(given)
    return path.resolve().name if path.is_dir() else path.name.partition("@")[0]
