"""Model registry: the rankers of a server, by name and version."""

from collections.abc import Iterable
from pathlib import Path

import structlog

from crossrank.errors import Unavailable, UnknownModel, UsageError
from crossrank.inference.hub import DEFAULT_RANKER, DEFAULT_SENTENCE
from crossrank.inference.scorer import Scorer
from crossrank.machine import usable_cores
from crossrank.reranker import ScoreKind
from crossrank.serve.engine import Engine
from crossrank.serve.settings import RankerSettings, ServerSettings
from crossrank.v1 import ranker_pb2

_log = structlog.get_logger()
_KINDS: dict[ScoreKind, ranker_pb2.ScoreKind.ValueType] = {
    "logit": ranker_pb2.SCORE_KIND_LOGIT,
    "probability": ranker_pb2.SCORE_KIND_PROBABILITY,
}


class ModelRegistry:
    """Engines by name; the first one answers where a request names none."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}

    def load(self, settings: ServerSettings) -> None:
        """Opens every ranker of the settings; the default one where they name none.

        Raises:
            UsageError: one name stands for two.
            InvalidRanker: one of them cannot be served.
        """
        engines: dict[str, Engine] = {}
        named = _named(settings)
        # Together the rankers have as many workers as there are cores, and each has one at least.
        workers = settings.workers or max(1, usable_cores() // len(named))
        for name, given in named.items():
            scorer = Scorer.open(
                given.path,
                variant=given.variant or settings.variant,
                device=given.device or settings.device,
                workers=workers,
                score_cache=settings.score_cache,
                document_cache=settings.document_cache,
            )
            for reason in scorer.rejected_variants:
                _log.warning("variant rejected", model=name, variant=scorer.variant.file, reason=reason)
            engines[name] = Engine(scorer, settings.max_queued_tokens)
        self._engines = engines

    def engines(self) -> Iterable[tuple[str, Engine]]:
        """Each engine with its name."""
        return self._engines.items()

    def names(self) -> Iterable[str]:
        """The names of the rankers, the default one first."""
        return self._engines.keys()

    def get(self, model: str) -> tuple[str, Engine]:
        """The name and the engine that "name", "name@version" or "" stands for.

        Raises:
            UnknownModel: there is none.
            Unavailable: nothing is loaded yet.
        """
        self.require_loaded()
        name, _, version = model.partition("@")
        name = name or next(iter(self._engines))
        engine = self._engines.get(name)
        if engine is None:
            raise UnknownModel(f"model: {name!r} is not one of {', '.join(self._engines)}")
        loaded = engine.scorer.version
        if version and version != loaded:
            raise UnknownModel(f"model: {name} is loaded in version {loaded}, not {version}")
        return name, engine

    def require_loaded(self) -> None:
        """Raises Unavailable until `load` has opened the rankers."""
        if not self._engines:
            raise Unavailable("the server is starting")

    def describe(self) -> list[ranker_pb2.Model]:
        """One message for each ranker, the default one first."""
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
            for name, scorer in ((name, engine.scorer) for name, engine in self._engines.items())
        ]

    def close(self) -> None:
        """Ends all engines."""
        for engine in self._engines.values():
            engine.close()


def _named(settings: ServerSettings) -> dict[str, RankerSettings]:
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
        _log.info(DEFAULT_SENTENCE)
        named["default"] = RankerSettings(path=str(DEFAULT_RANKER))
    return named


def _default_name(given: str) -> str:
    """A directory's name; of a Hugging Face id what stands behind the organisation, without its revision."""
    path = Path(given)
    return path.resolve().name if path.is_dir() else path.name.partition("@")[0]
