"""Clients of a crossrank server: `Reranker`s with the calls of sentence-transformers' CrossEncoder.

    with RankClient("127.0.0.1:50051") as client:
        client.rank("how do knots hold", ["Friction ...", "The cherry ..."], top_k=1)
        client.predict([("how do knots hold", "Friction ...")])

`AsyncRankClient` is the same with `await` and `async with`. Errors are those of `crossrank.errors`; every call has a
deadline. Several servers take turns, without those that are not healthy. gRPC retries UNAVAILABLE and overload, and
waits as long as the server asks.
"""

from crossrank.client.aio import AsyncRankClient
from crossrank.client.channel import DEFAULT_TARGET
from crossrank.client.sync import RankClient
from crossrank.results import RankedDocument

__all__ = ["DEFAULT_TARGET", "AsyncRankClient", "RankClient", "RankedDocument"]
