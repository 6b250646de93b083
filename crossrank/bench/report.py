"""Benchmark results as one self-contained page, with its pictures as PNG files beside it."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossrank.bench.plot import pictures_of
from crossrank.bench.result import Result
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


def write_result(result: Result, directory: Path) -> None:
    """Writes a result as JSON, as a page and as pictures; the directory is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    with written_beside(directory / RESULT_FILE) as staged:
        staged.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_report([result], directory)


def write_report(results: Sequence[Result], directory: Path) -> list[Path]:
    """Writes the page and the pictures of results.

    Args:
        results: in the order of the page.
        directory: made where it is missing.

    Returns:
        The page, and the pictures.
    """
    directory.mkdir(parents=True, exist_ok=True)
    sections = []
    written: list[Path] = []
    for number, result in enumerate(results, start=1):
        pictures = []
        for name, gist, draw in pictures_of(result):
            file = directory / (f"{name}.png" if len(results) == 1 else f"{number}-{result.benchmark}-{name}.png")
            with written_beside(file) as staged:
                draw(staged)
            written.append(file)
            source = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
            pictures.append({"source": source, "gist": gist})
        sections.append({"result": result, "pictures": pictures})
    page = directory / REPORT_FILE
    with written_beside(page) as staged:
        staged.write_text(_PAGES.get_template("report.html.jinja").render(sections=sections), encoding="utf-8")
    return [page, *written]
