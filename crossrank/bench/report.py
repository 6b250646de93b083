"""Benchmark results as one self-contained page, with its pictures as PNG files next to it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossrank.bench.plot import Picture, pictures_of
from crossrank.bench.results import BenchResult, CapacityResult, LoadTestResult, QualityResult
from crossrank.bench.tables import Table, tables_of
from crossrank.data.files import written_beside

RESULT_FILE = "result.json"
REPORT_FILE = "report.html"

_PAGES = Environment(
    loader=PackageLoader("crossrank.bench", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One result of a report.

    Attributes:
        name: of the benchmark.
        result: its settings, machine and warnings are shown.
        tables: its figures.
        pictures: its plots.
        sentence: a conclusion; empty where there is none.
    """

    name: str
    result: BenchResult
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    sentence: str = ""


def section_of(result: LoadTestResult | QualityResult | CapacityResult) -> Section:
    """The section of a result."""
    sentence = result.max_rate_sentence() if isinstance(result, LoadTestResult) else ""
    return Section(result.benchmark, result, tables_of(result), list(pictures_of(result)), sentence)


def write_result(section: Section, directory: Path) -> None:
    """Writes a result as JSON, as a page and as pictures; the directory is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    with written_beside(directory / RESULT_FILE) as staged:
        staged.write_text(section.result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_report([section], directory)


def write_report(sections: Sequence[Section], directory: Path) -> list[Path]:
    """Writes the page and the pictures of results.

    Args:
        sections: in the order of the page.
        directory: made where it is missing.

    Returns:
        The page, and the pictures.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    written: list[Path] = []
    for number, section in enumerate(sections, start=1):
        pictures = []
        for picture in section.pictures:
            name = picture.name if len(sections) == 1 else f"{number}-{section.name}-{picture.name}"
            file = directory / f"{name}.png"
            with written_beside(file) as staged:
                picture.draw(staged)
            written.append(file)
            source = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
            pictures.append({"source": source, "alt": picture.alt})
        drawn.append({"section": section, "pictures": pictures})
    page = directory / REPORT_FILE
    with written_beside(page) as staged:
        staged.write_text(_PAGES.get_template("report.html.jinja").render(drawn=drawn), encoding="utf-8")
    return [page, *written]
