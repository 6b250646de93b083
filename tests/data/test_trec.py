import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.data.trec import Run, ranking_from_scores, read_run, write_run
from crossrank.errors import InvalidData

IDS = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)
RUNS = st.dictionaries(
    IDS, st.dictionaries(IDS, st.floats(allow_nan=False), min_size=1, max_size=6), min_size=1, max_size=3
)


@given(RUNS)
@settings(max_examples=60)
def test_what_is_written_is_read_back(run: Run) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "new" / "a.run"
        write_run(run, path, "bm25")
        back = read_run(path)
        assert back == run
        assert ranking_from_scores(back) == ranking_from_scores(run)
        assert [list(scores) for scores in back.values()] == list(ranking_from_scores(run).values())


@given(RUNS)
def test_scores_fall_and_ties_keep_their_order(run: Run) -> None:
    for query_id, doc_ids in ranking_from_scores(run).items():
        position = {doc_id: index for index, doc_id in enumerate(run[query_id])}
        keys = [(-run[query_id][doc_id], position[doc_id]) for doc_id in doc_ids]
        assert keys == sorted(keys)
        assert set(doc_ids) == set(run[query_id])


def test_the_format_is_trecs(tmp_path: Path) -> None:
    write_run({"q": {"old": 1.0}}, tmp_path / "a.run", "mine")
    write_run({"q": {"a": 1, "b": np.float64(2.5)}}, tmp_path / "a.run", "mine")
    assert (tmp_path / "a.run").read_text() == "q Q0 b 1 2.5 mine\nq Q0 a 2 1.0 mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": is empty"),
        ("q Q0 d 1 0.5 tag\nq Q0 e 2 0.4\n", ":2: 5 columns"),
        ("q Q0 d 1 high tag\n", ":1: score 'high' is not a number"),
        ("q Q0 d 1 nan tag\n", ":1: score 'nan' is not a number"),
        ("q Q0 d 1 2 tag\nq Q0 d 2 1 tag\n", ":2: query 'q' ranks 'd' a second time"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.run"
    path.write_text(content)
    with pytest.raises(InvalidData) as error:
        read_run(path)
    assert str(error.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("run", "tag"),
    [
        ({"q": {"a b": 1.0}}, "x"),
        ({"": {"a": 1.0}}, "x"),
        ({"q": {"a": 1.0}}, "x y"),
        ({"q": {"a": float("nan")}}, "x"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, run: Run, tag: str) -> None:
    with pytest.raises(ValueError, match=r"holds whitespace|is NaN"):
        write_run(run, tmp_path / "a.run", tag)
    assert not list(tmp_path.iterdir())
