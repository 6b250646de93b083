"""`crossrank export-onnx`, also the script `export-onnx`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossrank.cli.output import needs, print_json, print_step, print_table, ranker_or_default
from crossrank.errors import UsageError
from crossrank.inference.manifest import Agreement, Budget

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport
    from crossrank.export.trials import Trial

_DEFAULT = Budget()


def export_onnx(
    model: Annotated[str, typer.Argument(help="Directory or Hugging Face id of a cross-encoder.")],
    out: Annotated[Path, typer.Argument(help="Directory of the ranker to write.")],
    variants: Annotated[
        str,
        typer.Option(
            help="Names with commas between them: auto, fp32, pruned, O1, O2, O3, fp16, qint8_per_token, quint8_avx2, "
            "qint8_avx512, qint8_avx512_vnni, qint8_arm64, and these four with _static."
        ),
    ] = "auto",
    judgements: Annotated[
        list[Path] | None,
        typer.Option(help="Judged set to compare on; repeatable. Default: functions of the standard library."),
    ] = None,
    max_queries: Annotated[int, typer.Option(min=1, help="Queries of each judged set that are compared.")] = 100,
    max_ndcg_drop: Annotated[
        float, typer.Option(help="How much lower a variant's nDCG@10 may be than PyTorch's.")
    ] = _DEFAULT.max_ndcg_drop or 0.0,
    max_mrr_drop: Annotated[float | None, typer.Option(help="The same of MRR@10. Default: no limit.")] = None,
    min_top_1: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the queries that keep PyTorch's first document.")
    ] = _DEFAULT.min_top_1 or 0.0,
    min_top_10: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of PyTorch's ten best that stay. Default: no limit.")
    ] = None,
    min_kendall_tau: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Kendall's tau within a query. Default: no limit.")
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Largest error of a logit. Default: no limit, but see --atol.")
    ] = None,
    atol: Annotated[float, typer.Option(min=0, help="Largest error of a logit in fp32.")] = 1e-4,
    optimize: Annotated[str | None, typer.Option(help="O1, O2 or O3: adds that variant.")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32 or fp16: adds that variant.")] = None,
    avx2: Annotated[bool, typer.Option("--avx2", help="Adds the dynamic int8 preset.")] = False,
    avx512: Annotated[bool, typer.Option("--avx512", help="Adds the dynamic int8 preset.")] = False,
    avx512_vnni: Annotated[bool, typer.Option("--avx512-vnni", help="Adds the dynamic int8 preset.")] = False,
    arm64: Annotated[bool, typer.Option("--arm64", help="Adds the dynamic int8 preset.")] = False,
    per_channel: Annotated[
        bool, typer.Option("--per-channel/--per-tensor", help="Weight scales of the presets.")
    ] = True,
    calibration: Annotated[
        str, typer.Option(help="Activation ranges of the static presets: percentile, entropy or minmax.")
    ] = "percentile",
    opset: Annotated[int | None, typer.Option(help="Of the fp32 graph. Default: optimum's choice.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the Hugging Face id.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a cross-encoder to ONNX; write the variants that keep its ranking."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with needs("export"):
        from crossrank.export.pipeline import ExportOptions, ExportRefused, export_ranker
        from crossrank.export.presets import CALIBRATIONS
    if calibration not in CALIBRATIONS:
        raise UsageError(f"--calibration {calibration} is not one of {', '.join(CALIBRATIONS)}")
    flags = {"quint8_avx2": avx2, "qint8_avx512": avx512, "qint8_avx512_vnni": avx512_vnni, "qint8_arm64": arm64}
    options = ExportOptions(
        variants=[
            *(name.strip() for name in variants.split(",") if name.strip()),
            *(name for name in (optimize, dtype) if name),
            *(name for name, given in flags.items() if given),
        ],
        judgements=judgements or (),
        max_queries=max_queries,
        budget=Budget(
            max_error=max_error,
            max_ndcg_drop=max_ndcg_drop,
            max_mrr_drop=max_mrr_drop,
            min_kendall_tau=min_kendall_tau,
            min_top_1=min_top_1,
            min_top_10_overlap=min_top_10,
        ),
        atol=atol,
        opset=opset,
        per_channel=per_channel,
        calibration=calibration,
    )
    try:
        report = export_ranker(model, out, options, revision=revision, force=force, progress=print_step)
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
    out: Annotated[Path, typer.Argument(help="Directory of the cross-encoder to write.")],
    ranker: Annotated[
        str | None,
        typer.Option(help="Directory or Hugging Face id of a ranker. Default: the one that comes with crossrank."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it is as JSON.")] = False,
) -> None:
    """Write a ranker's weights as a cross-encoder, to fine-tune it."""
    with needs("export"):
        from crossrank.export.onnx_to_torch import write_cross_encoder
    difference = write_cross_encoder(ranker_or_default(ranker), out, force=force)
    if as_json:
        print_json({"directory": str(out), "largest_difference": difference})
    else:
        print_step(f"{out} is written; its logits of the golden pairs are within {difference:.2g} of the graph's")


def report_to_json(report: "ExportReport") -> dict[str, Any]:
    """The report as JSON can hold it."""
    return {
        "directory": str(report.directory),
        "version": report.version,
        "max_length": report.max_length,
        "variants": trials_to_json(report.trials),
    }


def trials_to_json(trials: "Sequence[Trial]") -> list[dict[str, Any]]:
    """What was tried, in order, with every figure."""
    return [{**trial.variant.model_dump(), "megabytes": trial.megabytes, "failure": trial.failure} for trial in trials]


def show_report(report: "ExportReport") -> None:
    """Prints what became of each variant."""
    show_trials(f"{report.directory} (version {report.version})", report.trials)


def show_trials(title: str, trials: "Sequence[Trial]") -> None:
    """Prints a table of what was tried, a row for each graph and set, and why graphs were refused."""
    rows = []
    for trial in trials:
        variant = trial.variant
        name = f"{variant.name}, {len(variant.kept_in_fp32)} in fp32" if variant.kept_in_fp32 else variant.name
        written = "no" if trial.failure else "yes"
        for number, figures in enumerate(variant.agreement):
            first = (name, f"{trial.megabytes:.1f}", f"{variant.speed:.2f}")
            rows.append((*(first if number == 0 else ("", "", "")), *agreement_cells(figures), written))
        if not variant.agreement:
            rows.append((name, f"{trial.megabytes:.1f}", *("" for _ in range(8)), written))
    print_table(f"{title}: against PyTorch in fp32", ("variant", "MB", "fp32 = 1", *AGREEMENT_COLUMNS, "written"), rows)
    for trial in trials:
        if trial.failure:
            print(f"{trial.variant.name}, {len(trial.variant.kept_in_fp32)} matrices in fp32: {trial.failure}")


AGREEMENT_COLUMNS = ("set", "queries", "nDCG@10 less PyTorch's", "Kendall", "top-1", "top-10", "max error")


def agreement_cells(figures: Agreement) -> tuple[str, ...]:
    """One set's figures, a cell for each of `AGREEMENT_COLUMNS`."""
    return (
        figures.data,
        str(figures.queries),
        str(figures.ndcg_difference) if figures.ndcg_difference else "not judged",
        f"{figures.kendall_tau:.3f}",
        f"{figures.top_1:.3f}",
        f"{figures.top_10_overlap:.3f}",
        f"{figures.max_error:.2g}",
    )
