"""Hugging Face Hub: locates a ranker there, in a directory, or in this package.

From the hub it is downloaded without pickles and without code, into huggingface_hub's cache.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from crossrank.errors import UsageError, first_line
from crossrank.paths import from_home

# What answers where no ranker is named.
DEFAULT_RANKER = Path(__file__).parent.parent.parent / "default_ranker"
DEFAULT_SENTENCE = "no ranker is named: taking the default one, which comes with crossrank"

# Seconds until the hub must have answered, as huggingface_hub's own for a file.
_TIME_LIMIT = 10.0

_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# What a ranker is made of. It has no PyTorch weights, no pickles and no code.
_FILES = ("*.json", "*.txt", "*.model", "README.md", "onnx/*.onnx", "onnx/*.onnx_data", "onnx/*.json")


def token_of_environment() -> str | bool:
    """The token for private repositories: HF_TOKEN, and never one that somebody logged in with on this machine.

    Returns:
        False where there is none, which keeps huggingface_hub from its token file.
    """
    return os.environ.get("HF_TOKEN") or False


def locate_ranker(name: str | Path | None) -> Path:
    """The directory of a ranker that is given as a path, or as a Hugging Face id with an optional revision.

    A token for a private repository comes from the environment (HF_TOKEN) alone; HF_ENDPOINT, HF_HOME and
    HF_HUB_OFFLINE are read from there too.

    Args:
        name: "directory", "organisation/model" or "organisation/model@revision". What exists as a path is one. None
            stands for the default ranker.

    Raises:
        UsageError: the hub has no such repository or revision, does not let us in, or cannot be reached.
    """
    if name is None:
        return DEFAULT_RANKER
    path = from_home(name)
    matched = _ID.fullmatch(str(name))
    if matched is None or isinstance(name, Path) or path.exists():
        return path
    return download(matched["repository"], matched["revision"], _FILES)


def download(repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Downloads files of a repository into huggingface_hub's cache; what is there already is not fetched again.

    Args:
        repository: a Hugging Face id.
        revision: branch, tag or commit; None: the default branch.
        files: patterns of what is wanted.

    Returns:
        A directory whose name is the commit.

    Raises:
        UsageError: the hub has no such repository or revision, does not let us in, or cannot be reached.
    """
    # Slow to import, and seldom needed.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(files),
                token=token_of_environment(),
                local_files_only=not _answers(repository, revision),
            )
        )
    except HFValidationError:
        raise UsageError(f"{repository} is neither a directory nor an id of the Hugging Face hub") from None
    except GatedRepoError:
        raise UsageError(f"{repository} is gated on the hub; accept its terms there and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UsageError(f"{repository} has no revision {revision!r} on the hub") from None
    except RepositoryNotFoundError:
        hint = "" if token_of_environment() else "; if it is private, set HF_TOKEN"
        raise UsageError(
            f"{repository} is neither a directory nor a repository on the hub that we may read{hint}"
        ) from None
    except LocalEntryNotFoundError:
        raise UsageError(f"{repository} is not a directory, and the hub cannot be reached") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UsageError(f"{repository} cannot be downloaded: {first_line(error)}") from None


def _answers(repository: str, revision: str | None) -> bool:
    """Whether the hub answers in time, whatever it says: snapshot_download itself would wait without limit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi(token=token_of_environment()).model_info(repository, revision=revision, timeout=_TIME_LIMIT)
    except (HfHubHTTPError, HFValidationError):
        return True
    except Exception:  # of requests or of httpx, by huggingface_hub's version
        return False
    return True
