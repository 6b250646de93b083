import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import running_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server with the default ranker, which computes each pair as often as it comes."""
    with running_server("--score-cache", "0", stderr=subprocess.DEVNULL) as (target, _):
        yield target
