import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgements.judged_set import JudgedSet
from judgements.trec_run import Run, ranking_from_scores
from serve.calibration import Bin
from train.calibration import expected_calibration_error
from train.changes import Move, query_changes
from train.distributions import length_histogram, score_histogram
from train.evaluate import Evaluation, compare_systems
from train.report import ReportInput, report_json, write_report

ATTACK = '<script>alert("1")</script> & größe 日本'

# By hand. "up": the relevant document goes from 3 to 1, nDCG@10 from 1/log2(4) = 0.5 to 1. "down": the document of
# grade 2 goes from 1 to 2 and that of grade 1 from 2 to 1, nDCG@10 from 1 to (1 + 2/log2(3)) / (2 + 1/log2(3)).
JUDGED = JudgedSet(
    {"up": ATTACK, "down": "what went down", "same": "what stayed", "unjudged": "nobody knows"},
    {"a": "first\n  document", "b": ATTACK, "c": "", "d": "x" * 201, "e": "y" * 200},
    {"up": {"a": 1, "b": 0}, "down": {"d": 2, "e": 1}, "same": {"a": 1}},
)
UNTUNED: Run = {
    "up": {"a": 0.1, "b": 0.3, "c": 0.2},
    "down": {"d": 0.9, "e": 0.8},
    "same": {"a": 0.9, "c": 0.1},
    "unjudged": {"a": 0.5},
}
TUNED: Run = {
    "up": {"a": 3.0, "b": 2.0, "c": 1.0},
    "down": {"d": 1.0, "e": 2.0},
    "same": {"a": 2.0, "c": -1.0},
    "unjudged": {"a": 0.5},
}
AFTER_DOWN = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))


def evaluated(judged: JudgedSet, runs: Mapping[str, Run]) -> Evaluation:
    candidates = {query_id: list(scores) for query_id, scores in next(iter(runs.values())).items()}
    return compare_systems(judged, {name: ranking_from_scores(run) for name, run in runs.items()}, candidates)


def bare() -> ReportInput:
    return ReportInput("brief", "Nothing is known.", {}, [], [], np.empty(0, dtype=np.int64), 128)


def full() -> ReportInput:
    evaluation = evaluated(JUDGED, {"tuned": TUNED, "base, untuned": UNTUNED})
    return ReportInput(
        name=f"recipe {ATTACK}",
        verdict=evaluation.verdict("base, untuned"),
        facts={"base": ATTACK, "pairs": "7,187"},
        losses=[(1, 0.7, 0.0), (10, 0.4, 2e-5), (20, 0.3, 1e-5)],
        quality=[(10, 0.5), (20, 0.6)],
        lengths=np.array([10, 20, 30, 40]),
        max_length=30,
        evaluation=evaluation,
        judged=JUDGED,
        tuned=TUNED,
        untuned=UNTUNED,
        reference="base, untuned",
        calibration={
            "before": [Bin(predicted=0.2, observed=0.1, count=30)],
            "after": [Bin(predicted=0.2, observed=0.2, count=10)],
        },
    )


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.headings: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data
        if data.strip() and self.tags[-1][0] == "h2":
            self.headings.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG of which every chunk's checksum is right and whose pixels unpack to that size."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + body),)
        chunks.append((kind, body))
        place += 12 + length
    assert (chunks[0][0], chunks[-1][0]) == (b"IHDR", b"IEND")
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    assert (depth, colour) == (8, 6)  # RGBA
    pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    assert len(pixels) == height * (1 + 4 * width)
    return width, height


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reports") / "full"
    write_report(directory, full())
    return directory


def test_a_page_holds_all_that_it_shows(written: Path) -> None:
    page = Page(written / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    source = (written / "report.html").read_text(encoding="utf-8")
    assert "://" not in source
    assert "url(" not in source
    assert "default-src 'none'" in source
    assert (written / "report.html").stat().st_size < 1_000_000


def test_its_pictures_are_the_files_beside_it_and_say_what_they_show(written: Path) -> None:
    shown = {}
    for image in Page(written / "report.html").all("img"):
        assert image["src"] and image["alt"]
        shown[base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)] = image["alt"]
    files = {path.stem: path.read_bytes() for path in written.glob("*.png")}
    assert set(files) == {"loss", "ndcg", "ndcg_by_step", "changes", "scores", "lengths", "calibration"}
    assert set(files.values()) == set(shown)
    assert {png_size(data)[0] for data in files.values()} == {825}
    assert shown[files["loss"]] == (
        "Loss over 20 steps: 0.7000 at the first report, 0.3000 at the last; learning rate 2e-05 at its highest."
    )
    assert "1 won, 1 lost, 1 unchanged; from +0.500 to " in shown[files["changes"]]
    assert "base, untuned: relevant 0.85, other 0.2; tuned: relevant 2, other 1." in shown[files["scores"]]
    assert sorted(path.name for path in written.iterdir()) == sorted(
        [*(f"{name}.png" for name in files), "report.html"]
    )


def test_texts_are_shown_and_never_become_markup(written: Path) -> None:
    page = Page(written / "report.html")
    assert page.text.count(ATTACK) == 5  # title, heading, base, query, document
    source = (written / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert "&lt;script&gt;" in source


def test_the_page_says_what_was_won_and_lost(written: Path) -> None:
    text = " ".join(Page(written / "report.html").text.split())
    assert "1 won, 1 lost, 1 unchanged" in text
    assert "nDCG@10 0.500 → 1.000 +0.500 · query up" in text
    assert f"nDCG@10 1.000 → {AFTER_DOWN:.3f} {AFTER_DOWN - 1:+.3f} · query down" in text
    assert "a 1 3 → 1 first document" in text
    assert (
        "25.0% of 4 training pairs are longer than max_length 30 and are cut, which loses 10.0% of all tokens" in text
    )
    assert "0.100 before, 0.000 after" in text


def test_wins_losses_and_moves_by_hand() -> None:
    changes = query_changes(full().evaluation or pytest.fail(), "base, untuned", JUDGED, TUNED, UNTUNED)
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
    changes = query_changes(Evaluation(17, 1.0, {"tuned": tuned, "BM25": other}), "BM25")
    assert [change.query_id for change in changes.biggest_wins] == ["q16", "q15", "q14", "q13", "q12"]
    assert [change.query_id for change in changes.biggest_losses] == ["q00", "q01", "q02", "q03", "q04"]
    assert (changes.wins, changes.losses, changes.ties) == (8, 8, 1)


def test_a_reference_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'BM25' was not evaluated; compare with one of tuned, base, untuned"):
        write_report(tmp_path / "report", replace(full(), reference="BM25"))
    assert not (tmp_path / "report").exists()


def test_truncation_shares_by_hand() -> None:
    found = length_histogram(np.array([10, 20, 30, 40]), 30)
    assert found is not None
    assert (found.pairs, found.longest, found.truncated_pairs, found.truncated_tokens) == (4, 40, 0.25, 0.1)
    assert length_histogram(np.array([0]), 1) is not None  # an empty pair has no token to lose


@given(st.lists(st.integers(0, 200_000), max_size=50), st.integers(1, 8192))
def test_every_pair_has_a_place_in_the_histogram_of_lengths(lengths: list[int], max_length: int) -> None:
    found = length_histogram(np.array(lengths, dtype=np.int64), max_length)
    if found is None:
        assert not lengths
        return
    assert sum(found.counts) == len(lengths)
    assert len(found.counts) == len(found.edges) - 1 <= 40
    assert found.truncated_pairs == sum(length > max_length for length in lengths) / len(lengths)
    assert 0 <= found.truncated_tokens < 1


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20), st.booleans())
def test_every_score_has_a_place_in_its_histogram(scores: list[float], shifted: bool) -> None:
    run = {"q": {str(number): score for number, score in enumerate(scores)}}
    judged = JudgedSet({"q": "query"}, dict.fromkeys(run["q"], ""), {"q": {"1" if shifted else "none": 1}})
    found = score_histogram(run, judged)
    if found is None:
        assert not scores
        return
    relevant = int(shifted and len(scores) > 1)
    assert (sum(found.relevant), sum(found.other)) == (relevant, len(scores) - relevant)
    assert all(low < high for low, high in zip(found.edges, found.edges[1:], strict=False))


def test_scores_of_queries_without_a_relevant_document_say_nothing() -> None:
    assert score_histogram({"unjudged": {"a": 1.0}}, JUDGED) is None
    with pytest.raises(ValueError, match="a score is not finite"):
        score_histogram({"up": {"a": float("inf")}}, JUDGED)


def test_the_calibration_error_by_hand() -> None:
    assert expected_calibration_error(
        [Bin(predicted=0.2, observed=0.1, count=30), Bin(predicted=0.9, observed=0.5, count=10)]
    ) == pytest.approx(0.175)


CASES: dict[str, ReportInput] = {
    "nothing": bare(),
    "no dev set": replace(full(), evaluation=None, judged=None, tuned=None, untuned=None, reference=None, quality=[]),
    "no scores before": replace(full(), losses=[], quality=[], calibration={}, untuned=None),
    "no texts": replace(bare(), evaluation=full().evaluation, untuned=UNTUNED, tuned=TUNED, reference="base, untuned"),
    "one system": replace(bare(), evaluation=evaluated(JUDGED, {"tuned": TUNED}), judged=JUDGED, tuned=TUNED),
    "one of each": replace(
        bare(),
        losses=[(1, 0.5, 1e-5)],
        quality=[(1, 0.0)],
        lengths=np.array([5]),
        evaluation=evaluated(
            JudgedSet({"q": "?"}, {"d": ""}, {"q": {"d": 1}}), {"tuned": {"q": {"d": 0.0}}, "BM25": {}}
        ),
        reference="BM25",
        judged=JudgedSet({"q": "?"}, {"d": ""}, {"q": {"d": 1}}),
        tuned={"q": {"d": 0.0}},
        calibration={"before": [], "after": [Bin(predicted=0.5, observed=1.0, count=1)]},
    ),
}
PICTURES = {
    "nothing": set(),
    "no dev set": {"loss", "lengths", "calibration"},
    "no scores before": {"ndcg", "changes", "scores", "lengths"},
    "no texts": {"ndcg", "changes"},
    "one system": {"ndcg", "scores"},
    "one of each": {"loss", "ndcg", "ndcg_by_step", "changes", "scores", "lengths", "calibration"},
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_report_lacks_is_left_out(name: str, tmp_path: Path) -> None:
    write_report(tmp_path, CASES[name])
    assert {path.stem for path in tmp_path.glob("*.png")} == PICTURES[name]
    page = Page(tmp_path / "report.html")
    assert len(page.all("img")) == len(PICTURES[name])
    sections = {
        "changes": "Queries won and lost",
        "scores": "Scores",
        "lengths": "Lengths",
        "calibration": "Calibration",
    }
    shown = [heading for picture, heading in sections.items() if picture in PICTURES[name]]
    assert page.headings == ["Ranking quality", "Training", *shown]
    assert ("It was not evaluated" in page.text) == (CASES[name].evaluation is None)
    for leak in ("None", "nan", "Undefined", "{{"):
        assert leak not in page.text
    assert ("rank before → after" in page.text) == bool(CASES[name].untuned and CASES[name].judged)


@pytest.mark.parametrize("name", CASES)
def test_all_of_it_is_json(name: str) -> None:
    found = report_json(CASES[name])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"quality", "changes", "scores", "lengths", "calibration"}


def test_the_json_holds_what_the_page_shows() -> None:
    found = report_json(full())
    assert found["quality"] == [{"step": 10, "nDCG@10": 0.5}, {"step": 20, "nDCG@10": 0.6}]
    moved = found["changes"]["biggest_wins"][0]["documents"][0]
    assert moved == {"doc_id": "a", "grade": 1, "before": 3, "after": 1, "snippet": "first document"}
    assert set(found["scores"]) == {"base, untuned", "tuned"}
    assert sum(found["scores"]["tuned"]["relevant"]) == 4
    assert found["lengths"]["truncated_pairs"] == 0.25
    assert found["calibration"]["before"] == {
        "bins": [{"predicted": 0.2, "observed": 0.1, "count": 30}],
        "error": pytest.approx(0.1),
    }


def test_thousands_of_queries_make_a_page_of_the_same_size(tmp_path: Path) -> None:
    ids = [f"q{number}" for number in range(5000)]
    gains = dict(zip(ids, np.random.default_rng(0).normal(0, 0.2, len(ids)).tolist(), strict=True))
    measures = ("nDCG@10", "MRR@10", "MAP", "Recall@50")
    tuned, other = (dict.fromkeys(measures, values) for values in (gains, dict.fromkeys(ids, 0.5)))
    evaluation = Evaluation(len(ids), 1.0, {"tuned": tuned, "BM25": other})
    write_report(tmp_path, replace(bare(), evaluation=evaluation, reference="BM25"))
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_a_report_takes_the_place_of_an_older_one(written: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "loss.png").write_text("older")
    write_report(tmp_path, full())
    assert (tmp_path / "loss.png").read_bytes() == (written / "loss.png").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == (written / "report.html").read_bytes()
