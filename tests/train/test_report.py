import base64
import json
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from crossrank.data.eval_set import JudgedSet
from crossrank.evaluation.compare import SystemComparison
from crossrank.inference.calibration import Bin
from crossrank.train.report.page import ReportInput, report_json, write_report
from tests.judged_by_hand import AFTER_DOWN, ATTACK, JUDGED, TUNED, UNTUNED, evaluated


def bare() -> ReportInput:
    return ReportInput("brief", "Nothing is known.", {}, [], [], np.empty(0, dtype=np.int64), 128)


def full() -> ReportInput:
    evaluation = evaluated(JUDGED, {"tuned": TUNED, "base": UNTUNED})
    return ReportInput(
        name=f"recipe {ATTACK}",
        verdict=evaluation.verdict("base"),
        facts={"base": ATTACK, "pairs": "7,187"},
        losses=[(1, 0.7, 0.0), (10, 0.4, 2e-5), (20, 0.3, 1e-5)],
        quality=[(10, 0.5), (20, 0.6)],
        lengths=np.array([10, 20, 30, 40]),
        max_length=30,
        evaluation=evaluation,
        judged=JUDGED,
        tuned=TUNED,
        untuned=UNTUNED,
        reference="base",
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


def test_a_reference_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'bm25' was not evaluated; compare with one of tuned, base"):
        write_report(tmp_path / "report", replace(full(), reference="bm25"))
    assert not (tmp_path / "report").exists()


CASES: dict[str, ReportInput] = {
    "nothing": bare(),
    "no dev set": replace(full(), evaluation=None, judged=None, tuned=None, untuned=None, reference=None, quality=[]),
    "no scores before": replace(full(), losses=[], quality=[], calibration={}, untuned=None),
    "no texts": replace(bare(), evaluation=full().evaluation, untuned=UNTUNED, tuned=TUNED, reference="base"),
    "one system": replace(bare(), evaluation=evaluated(JUDGED, {"tuned": TUNED}), judged=JUDGED, tuned=TUNED),
    "one of each": replace(
        bare(),
        losses=[(1, 0.5, 1e-5)],
        quality=[(1, 0.0)],
        lengths=np.array([5]),
        evaluation=evaluated(
            JudgedSet({"q": "?"}, {"d": ""}, {"q": {"d": 1}}), {"tuned": {"q": {"d": 0.0}}, "bm25": {}}
        ),
        reference="bm25",
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
    assert set(found["scores"]) == {"base", "tuned"}
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
    evaluation = SystemComparison(len(ids), 1.0, {"tuned": tuned, "bm25": other})
    write_report(tmp_path, replace(bare(), evaluation=evaluation, reference="bm25"))
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_a_report_takes_the_place_of_an_older_one(written: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "loss.png").write_text("older")
    write_report(tmp_path, full())
    assert (tmp_path / "loss.png").read_bytes() == (written / "loss.png").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == (written / "report.html").read_bytes()
