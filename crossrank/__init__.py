"""Fine-tune, export, prove and serve cross-encoder rerankers. Importing this package imports nothing else."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from crossrank.client import AsyncRankClient, RankClient
    from crossrank.errors import CrossrankError
    from crossrank.inference.scorer import Scorer
    from crossrank.reranker import RankOptions, Reranker
    from crossrank.results import RankedDocument

# Libraries read these once, when they are imported, so they are set before any of ours can import one. Who wants to
# report to the makers of ONNX Runtime or of Hugging Face sets them to 0.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")

__all__ = [
    "AsyncRankClient",
    "CrossrankError",
    "RankClient",
    "RankOptions",
    "RankedDocument",
    "Reranker",
    "Scorer",
    "__version__",
]
_HOMES = {
    "AsyncRankClient": "crossrank.client",
    "CrossrankError": "crossrank.errors",
    "RankClient": "crossrank.client",
    "RankOptions": "crossrank.reranker",
    "RankedDocument": "crossrank.results",
    "Reranker": "crossrank.reranker",
    "Scorer": "crossrank.inference.scorer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("crossrank")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
