from collections.abc import Iterator

import pytest

from crossrank.serve.local import local_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server with the default ranker, which computes each pair as often as it comes."""
    with local_server("--score-cache", "0") as (target, _):
        yield target
