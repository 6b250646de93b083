"""`crossrank export-onnx`, also the script `export-onnx`, and `crossrank export-pytorch`."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossrank.cli.options import options_of, parse
from crossrank.cli.output import needs, print_json, print_line, print_table, ranker_or_default
from crossrank.cli.progress import progress_bars, steps_of
from crossrank.export.options import ExportOptions
from crossrank.inference.ranker.manifest import Agreement
from crossrank.progress import Progress

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport
    from crossrank.export.verifier import Trial

_log = logging.getLogger(__name__)
# By the names of optimum-cli's flags.
_PRESETS = {
    "avx2": "quint8_avx2",
    "avx512": "qint8_avx512",
    "avx512_vnni": "qint8_avx512_vnni",
    "arm64": "qint8_arm64",
}


@options_of(ExportOptions)
def export_onnx(
    model: Annotated[str, typer.Argument(help="Directory or Hugging Face id of a cross-encoder.")],
    out: Annotated[Path, typer.Option(help="Directory of the ranker to write.")],
    variants: Annotated[
        str | None,
        typer.Option(help=f"{ExportOptions.model_fields['variants'].description} Commas between them. Default: auto."),
    ] = None,
    dtype: Annotated[Literal["fp32", "fp16"] | None, typer.Option(help="Add this variant.")] = None,
    avx2: Annotated[bool, typer.Option("--avx2", help="Add the dynamic int8 preset for AVX2.")] = False,
    avx512: Annotated[bool, typer.Option("--avx512", help="Add the dynamic int8 preset for AVX-512.")] = False,
    avx512_vnni: Annotated[
        bool, typer.Option("--avx512-vnni", help="Add the dynamic int8 preset for AVX-512 with VNNI.")
    ] = False,
    arm64: Annotated[bool, typer.Option("--arm64", help="Add the dynamic int8 preset for ARM64.")] = False,
    revision: Annotated[str | None, typer.Option(help="Revision of the Hugging Face id.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the directory if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    **given: Any,
) -> None:
    """Convert a cross-encoder to ONNX; write the variants that keep its ranking."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    presets = {"avx2": avx2, "avx512": avx512, "avx512_vnni": avx512_vnni, "arm64": arm64}
    named = [name.strip() for name in variants.split(",") if name.strip()] if variants else ["auto"]
    named += [dtype] if dtype else []
    named += [_PRESETS[name] for name, asked in presets.items() if asked]
    options = parse(ExportOptions, {**given, "variants": named})
    with needs("export"):
        from crossrank.export.pipeline import ExportRefused, export_ranker
    try:
        with progress_bars(), Progress(_log, f"export {model}") as progress:
            report = export_ranker(model, out, options, revision=revision, force=force, progress=steps_of(progress))
    except ExportRefused as refused:
        if as_json:
            print_json({"error": str(refused), "variants": trials_to_json(refused.trials)})
        else:
            show_trials("refused", refused.trials)
        raise
    if as_json:
        print_json(report_to_json(report))
    else:
        show_report(report)


def export_pytorch(
    out: Annotated[Path, typer.Option(help="Directory of the cross-encoder to write.")],
    ranker: Annotated[
        str | None,
        typer.Option(help="Directory or Hugging Face id of a ranker. Default: the one that comes with crossrank."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the directory if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the directory as JSON.")] = False,
) -> None:
    """Write a ranker's weights as a cross-encoder, to fine-tune it."""
    with needs("export"):
        from crossrank.export.graph.onnx_to_torch import write_cross_encoder
    difference = write_cross_encoder(ranker_or_default(ranker), out, force=force)
    if as_json:
        print_json({"directory": str(out), "largest_difference": difference})
    else:
        _log.info(f"{out}: written; its logits of the golden pairs are within {difference:.2g} of the graph's")


def report_to_json(report: "ExportReport") -> dict[str, Any]:
    """The report as JSON can hold it."""
    return {
        "directory": str(report.directory),
        "version": report.version,
        "max_length": report.max_length,
        "variants": trials_to_json(report.trials),
    }


def trials_to_json(trials: "Sequence[Trial]") -> list[dict[str, Any]]:
    """The tried graphs in order, with every figure."""
    return [
        {
            **trial.graph.model_dump(),
            "budget": trial.budget.model_dump(),
            **(trial.measured.model_dump() if trial.measured else {}),
            "megabytes": trial.megabytes,
            "failure": trial.failure,
        }
        for trial in trials
    ]


def show_report(report: "ExportReport") -> None:
    """Prints each tried graph, and whether it was written."""
    show_trials(f"{report.directory} (version {report.version})", report.trials)


def show_trials(title: str, trials: "Sequence[Trial]") -> None:
    """Prints a row for each tried graph and evaluation set, and why graphs were refused."""
    rows = []
    for trial in trials:
        graph, measured = trial.graph, trial.measured
        name = f"{graph.name}, {len(graph.kept_in_fp32)} in fp32" if graph.kept_in_fp32 else graph.name
        written = "no" if trial.failure else "yes"
        for number, figures in enumerate(measured.agreement if measured else []):
            first = (name, f"{trial.megabytes:.1f}", f"{measured.speed:.2f}" if measured else "")
            rows.append((*(first if number == 0 else ("", "", "")), *agreement_cells(figures), written))
        if measured is None:
            rows.append((name, f"{trial.megabytes:.1f}", *("" for _ in range(8)), written))
    columns = ("variant", "MB", "speed, fp32 = 1", *AGREEMENT_COLUMNS, "written")
    print_table(f"{title}, compared with PyTorch in fp32", columns, rows)
    for trial in trials:
        if trial.failure:
            print_line(f"{trial.graph.name}, {len(trial.graph.kept_in_fp32)} matrices in fp32: {trial.failure}")


AGREEMENT_COLUMNS = ("set", "queries", "Δ nDCG@10 vs PyTorch", "tau", "top-1", "top-10", "max error")


def agreement_cells(figures: Agreement) -> tuple[str, ...]:
    """One set's figures, a cell for each of `AGREEMENT_COLUMNS`."""
    return (
        figures.data,
        str(figures.queries),
        str(figures.ndcg_difference) if figures.ndcg_difference else "no judgements",
        f"{figures.kendall_tau:.3f}",
        f"{figures.top1_agreement:.3f}",
        f"{figures.top10_overlap:.3f}",
        f"{figures.max_error:.2g}",
    )
