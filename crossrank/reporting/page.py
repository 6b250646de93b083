"""Pages of reports: one look, self-contained and offline, with their pictures as PNG files beside them."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossrank.data.formats.files import written_beside
from crossrank.evaluation.systems import label
from crossrank.reporting.figures import Figure, save_figure

REPORT_FILE = "report.html"

_PAGES = Environment(
    loader=PackageLoader("crossrank", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["label"] = label


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot of a report.

    Attributes:
        name: of its file, without the ending.
        alt: what it shows, in a sentence.
        draw: draws it.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a page holds it.

    Attributes:
        file: the PNG.
        source: its bytes as a data URL.
        alt: what it shows, in a sentence.
    """

    file: Path
    source: str
    alt: str


def write_pictures(pictures: Iterable[Picture], directory: Path) -> dict[str, Image]:
    """Writes each picture as `NAME.png`, in the place of an older one once it is complete.

    Returns:
        The images by name, for `write_page`.

    Raises:
        OSError: a file cannot be written.
    """
    images = {}
    for picture in pictures:
        file = directory / f"{picture.name}.png"
        with written_beside(file) as staged:
            save_figure(picture.draw, staged)
        source = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
        images[picture.name] = Image(file, source, picture.alt)
    return images


def write_page(directory: Path, template: str, **values: Any) -> Path:
    """Writes `report.html`, in the place of an older one once it is complete.

    Args:
        directory: is made if it does not exist.
        template: extends `reporting/base.html.jinja`; a path below the package `crossrank`.
        values: what the template shows; all text is escaped.

    Returns:
        The page.

    Raises:
        OSError: the file cannot be written.
    """
    page = _PAGES.get_template(template).render(values)
    with written_beside(directory / REPORT_FILE) as staged:
        staged.write_text(page, encoding="utf-8")
    return directory / REPORT_FILE
