from dataclasses import replace

import pytest

from crossrank.data.eval_set import JudgedSet
from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.query_changes import Move, query_changes
from tests.support.judged_by_hand import AFTER_DOWN, ATTACK, JUDGED, TUNED, UNTUNED, evaluated


def test_wins_losses_and_moves_by_hand() -> None:
    changes = query_changes(evaluated(JUDGED, {"tuned": TUNED, "base": UNTUNED}), "base", JUDGED, TUNED, UNTUNED)
    assert (changes.wins, changes.losses, changes.ties) == (1, 1, 1)
    assert changes.differences == pytest.approx({"up": 0.5, "same": 0.0, "down": AFTER_DOWN - 1}, abs=1e-4)
    assert list(changes.differences) == ["up", "same", "down"]
    (win,), (loss,) = changes.biggest_wins, changes.biggest_losses
    assert (win.query_id, win.query, win.before, win.after) == ("up", ATTACK, 0.5, 1.0)
    assert win.documents == [
        Move("a", 1, 3, 1, "first document"),
        Move("b", 0, 1, 2, ATTACK),
        Move("c", None, 2, 3, ""),
    ]
    assert (loss.query_id, loss.before) == ("down", 1.0)
    assert loss.after == pytest.approx(AFTER_DOWN, abs=1e-4)
    assert loss.documents == [Move("e", 1, 2, 1, "y" * 200), Move("d", 2, 1, 2, "x" * 199 + "…")]


def test_relevant_documents_are_shown_before_those_that_jumped_further() -> None:
    ids = [f"d{number}" for number in range(30)]
    judged = JudgedSet({"q": "query"}, {doc_id: doc_id for doc_id in ids}, {"q": {"d29": 1, "d28": 0}})
    untuned = {"q": {doc_id: -float(number) for number, doc_id in enumerate(ids)}}
    tuned = {"q": {doc_id: -float(rank) for rank, doc_id in enumerate([*ids[9::-1], *ids[28:], *ids[10:28]])}}
    evaluation = evaluated(judged, {"tuned": tuned, "other": untuned})
    flat = replace(evaluation, per_query={**evaluation.per_query, "other": {"nDCG@10": {"q": -1.0}}})
    (win,) = query_changes(flat, "other", judged, tuned, untuned).biggest_wins
    assert [(move.doc_id, move.before, move.after) for move in win.documents] == [
        ("d9", 10, 1),
        ("d8", 9, 2),
        ("d1", 2, 9),
        ("d0", 1, 10),
        ("d29", 30, 12),
    ]


def test_five_wins_and_five_losses_at_most_the_biggest_first() -> None:
    gains = {f"q{number:02}": (number - 8) / 10 for number in range(17)}
    tuned, other = ({"nDCG@10": values} for values in (gains, dict.fromkeys(gains, 0.0)))
    changes = query_changes(SystemComparison(17, 1.0, {"tuned": tuned, "bm25": other}), "bm25")
    assert [change.query_id for change in changes.biggest_wins] == ["q16", "q15", "q14", "q13", "q12"]
    assert [change.query_id for change in changes.biggest_losses] == ["q00", "q01", "q02", "q03", "q04"]
    assert (changes.wins, changes.losses, changes.ties) == (8, 8, 1)
