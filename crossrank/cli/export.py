"""`crossrank export-onnx`, also the script `export-onnx`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli.output import needs, print_json, print_step, print_table

if TYPE_CHECKING:
    from export.pipeline import ExportReport


def export_onnx(
    model: Annotated[str, typer.Argument(help="Directory or Hugging Face id of a cross-encoder.")],
    out: Annotated[Path, typer.Argument(help="Directory of the ranker to write.")],
    revision: Annotated[str | None, typer.Option(help="Revision of the Hugging Face id.")] = None,
    judgements: Annotated[
        Path | None, typer.Option(help="Judged set to compare on. Default: functions of the standard library.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a cross-encoder to ONNX in fp32 and int8, and compare both with PyTorch before writing them."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with needs("export"):
        from export.pipeline import export_ranker
    report = export_ranker(model, out, revision=revision, judgements=judgements, force=force, progress=print_step)
    if as_json:
        print_json(asdict_report(report))
    else:
        show_report(report)


def asdict_report(report: "ExportReport") -> dict[str, object]:
    """The report as JSON can hold it."""
    return {
        "directory": str(report.directory),
        "version": report.version,
        "max_length": report.max_length,
        "variants": [
            {
                **asdict(variant),
                "agreement": variant.agreement.model_dump(),
                "tolerance": variant.tolerance.model_dump(),
            }
            for variant in report.variants
        ],
    }


def show_report(report: "ExportReport") -> None:
    """Prints the table of variants."""
    first = report.variants[0].agreement
    print_table(
        f"{report.directory} (version {report.version}): against PyTorch on {first.pairs} pairs of "
        f"{first.queries} queries",
        ("variant", "MB", "max error", "mean error", "Kendall", "top-1", "top-10", "written"),
        [
            (
                Path(variant.file).name,
                f"{variant.megabytes:.1f}",
                f"{variant.agreement.max_error:.2g}",
                f"{variant.agreement.mean_error:.2g}",
                f"{variant.agreement.kendall_tau:.3f}",
                f"{variant.agreement.top_1:.2f}",
                f"{variant.agreement.top_10_overlap:.3f}",
                f"no: {variant.failure}" if variant.failure else "yes",
            )
            for variant in report.variants
        ],
    )
