"""Clients of a crossrank server, with the calls of sentence-transformers' CrossEncoder.

    with RankClient("127.0.0.1:50051") as client:
        client.rank("how do knots hold", ["Friction ...", "The cherry ..."], top_n=1)
        client.predict([("how do knots hold", "Friction ...")])

`AsyncRankClient` is the same with `await` and `async with`. Both may be shared: the first between threads, the second
between tasks. Errors are those of `crossrank.errors`; every call has a deadline; UNAVAILABLE and overload are tried
again by gRPC, which waits as long as the server asks.
"""

from crossrank.client.aio import AsyncRankClient
from crossrank.client.channel import DEFAULT_TARGET
from crossrank.client.sync import RankClient
from crossrank.results import RankedDocument

__all__ = ["DEFAULT_TARGET", "AsyncRankClient", "RankClient", "RankedDocument"]
