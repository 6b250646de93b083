"""Benchmark results on one page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossrank.bench.plot import pictures_of
from crossrank.bench.results import BenchResult, CapacityResult, LoadTestResult, QualityResult
from crossrank.bench.tables import tables_of
from crossrank.data.formats.files import written_beside
from crossrank.reporting.page import Picture, write_page, write_pictures
from crossrank.reporting.tables import Table

RESULT_FILE = "result.json"


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
    images = []
    for number, section in enumerate(sections, start=1):
        prefix = "" if len(sections) == 1 else f"{number}-{section.name}-"
        pictures = [replace(picture, name=prefix + picture.name) for picture in section.pictures]
        images.append(list(write_pictures(pictures, directory).values()))
    page = write_page(directory, "bench/report.html.jinja", sections=sections, images=images)
    return [page, *(image.file for shown in images for image in shown)]
