"""What is wrong with training data, found before training: rows at fault, and texts that are also held out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from crossrank.data.eval_set import JudgedSet
from crossrank.data.examples import Example
from crossrank.data.near_duplicates import NearDuplicates
from crossrank.errors import InvalidData, UsageError
from crossrank.train.recipe import Data

_QUOTED = 3


@dataclass(slots=True)
class Screening:
    """What was found in the training data before training.

    Attributes:
        bad_rows: rows at fault.
        leaked: examples whose query is, or nearly is, a held-out one.
        seen_answers: examples in which something relevant is, nearly, a relevant held-out document; they stay.
        quotes, leaks: a few of the first two, each in a sentence.
    """

    bad_rows: int = 0
    leaked: int = 0
    seen_answers: int = 0
    quotes: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What a person should know before training starts."""
        told = []
        if self.bad_rows:
            told.append(f"{self.bad_rows} rows are at fault and were skipped")
        if self.leaked:
            told.append(f"{self.leaked} examples have a query that is held out, or nearly, and were dropped")
        if self.seen_answers:
            told.append(f"{self.seen_answers} examples answer with a text that is a held-out answer, or nearly")
        return [*told, *self.quotes, *self.leaks]


class Screen:
    """Keeps what is held out away from what is learnt, and counts what is at fault."""

    def __init__(self, data: Data, held_out: Sequence[JudgedSet], cut_out: Collection[str] = ()) -> None:
        """Indexes what is held out.

        Args:
            data: says what happens to faults.
            held_out: must not be learnt, nor what is nearly the same.
            cut_out: queries that were taken out of the training data themselves, which is no fault of theirs.
        """
        self.found = Screening()
        self._data = data
        self._cut_out = cut_out
        self._queries = NearDuplicates(query for judged in held_out for query in judged.queries.values())
        self._answers = NearDuplicates(
            judged.corpus[doc_id]
            for judged in held_out
            for query_id in judged.queries
            for doc_id in judged.positives(query_id)
        )

    def bad_row(self, error: InvalidData) -> None:
        """Notes a row at fault."""
        self.found.bad_rows += 1
        if self.found.bad_rows <= _QUOTED:
            self.found.quotes.append(str(error))

    def passes(self, example: Example) -> bool:
        """Whether an example may be learnt from."""
        if example.query in self._cut_out:
            return False
        if (near := next(self._queries.find(example.query), None)) is not None:
            self.found.leaked += 1
            if self.found.leaked <= _QUOTED:
                self.found.leaks.append(f"{example.query[:80]!r} is held out as {self._queries.texts[near][:80]!r}")
            return False
        relevant = [text for text, label in zip(example.documents, example.labels, strict=True) if label > 0]
        self.found.seen_answers += any(True for text in relevant for _ in self._answers.find(text))
        return True

    def check(self, *, nothing_left: bool = False) -> None:
        """Ends a run whose data the recipe wants to be without fault.

        Args:
            nothing_left: whether no example came through.

        Raises:
            UsageError: there are rows at fault, or leaks, and the recipe refuses them, or nothing else is left.
        """
        found = self.found
        if found.bad_rows and (self._data.bad_rows == "refuse" or nothing_left):
            rest = f" ({found.bad_rows} rows are at fault in all)" if found.bad_rows > 1 else ""
            advice = "correct them" if nothing_left else "data.bad_rows=skip goes on without them"
            raise UsageError(f"{found.quotes[0]}{rest}; {advice}")
        if found.leaked and (self._data.leakage == "refuse" or nothing_left):
            left = ", and no other is left" if nothing_left else ""
            raise UsageError(
                f"{found.leaked} training examples ask what is held out, or nearly{left}: {found.leaks[0]}; hold out "
                "other queries"
            )
