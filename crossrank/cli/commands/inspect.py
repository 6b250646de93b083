"""`crossrank inspect`."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from crossrank.cli.commands.export import AGREEMENT_COLUMNS, agreement_cells
from crossrank.cli.output import print_json, print_line, print_table, ranker_or_default
from crossrank.cli.progress import progress_bars
from crossrank.errors import InvalidRanker, UsageError
from crossrank.progress import Progress

_log = logging.getLogger(__name__)


def inspect(
    ranker: Annotated[
        str | None,
        typer.Argument(help="Directory or Hugging Face id (ID@REVISION). Default: the one that comes with crossrank."),
    ] = None,
    speed: Annotated[bool, typer.Option(help="Measure the speed of each variant on this machine.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a ranker holds, and how each variant runs on this machine."""
    from crossrank.inference.ranker.directory import open_ranker
    from crossrank.inference.session import require_onnxruntime
    from crossrank.machine import instruction_set, usable_cores

    require_onnxruntime()
    opened = open_ranker(ranker_or_default(ranker))
    here = _try_variants(opened.directory, [variant.file for variant in opened.manifest.variants], measure=speed)
    page: dict[str, Any] = {
        "directory": str(opened.directory),
        "version": opened.manifest.version,
        "machine": {"instruction_set": instruction_set(), "workers": usable_cores()},
        "megabytes": {
            name: round((opened.directory / name).stat().st_size / 1e6, 1) for name in sorted(opened.manifest.files)
        },
        "here": here,
        "calibration": opened.calibration and opened.calibration.model_dump(),
        "manifest": opened.manifest.model_dump(),
    }
    if as_json:
        print_json(page)
    else:
        _show(page, opened)


def _try_variants(directory: Path, files: list[str], *, measure: bool) -> dict[str, dict[str, Any]]:
    """Whether each variant gives its golden scores on this machine, and its speed."""
    from crossrank.inference.queue.throughput import measure_throughput
    from crossrank.inference.scorer import Scorer

    here: dict[str, dict[str, Any]] = {}
    scorers: dict[str, Scorer] = {}
    try:
        for file in files:
            here[file] = {"golden": "as exported", "pairs_per_second": None}
            try:
                scorers[file] = Scorer.open(directory, variant=file)
            except (InvalidRanker, UsageError) as error:
                here[file]["golden"] = str(error)
        if measure and scorers:
            with progress_bars(), Progress(_log, f"measure the speed of {len(scorers)} variants"):
                speeds = measure_throughput(scorers)
            for file, pairs_per_second in speeds.items():
                here[file]["pairs_per_second"] = round(pairs_per_second, 1)
    finally:
        for scorer in scorers.values():
            scorer.close()
    return here


def _show(page: dict[str, Any], ranker: Any) -> None:
    manifest = ranker.manifest
    source = manifest.source
    print_table(
        f"{page['directory']} (version {page['version']})",
        ("property", "value"),
        [
            ("source", f"{source.name}{f' @ {source.revision}' if source.revision else ''}"),
            ("sha256 of the weights", source.weights_sha256),
            ("architecture", manifest.model_type),
            ("max_length", f"{manifest.max_length} tokens"),
            ("scores", "logits" if manifest.activation == "identity" else "probabilities"),
            ("calibration", str(ranker.calibration or "none; probabilities are the logistic function of the logits")),
            ("exported", f"{manifest.created} on {manifest.machine}"),
            ("tools", ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())),
            ("golden pairs", ", ".join(pair.kind for pair in manifest.golden_pairs)),
        ],
    )
    variants, accepted = [], []
    for variant in manifest.variants:
        here = page["here"][variant.file]
        speed = here["pairs_per_second"]
        variants.append(
            (
                variant.name,
                f"{page['megabytes'][variant.file]:.1f}",
                variant.precision,
                f"{variant.provider}, {variant.target}",
                str(variant.opset),
                f"{variant.speed:.2f}",
                f"{speed:.0f}" if speed else "",
                "as exported" if here["golden"] == "as exported" else "differs",
            )
        )
        for number, figures in enumerate(variant.agreement):
            accepted.append((variant.name if number == 0 else "", *agreement_cells(figures)))
    machine = page["machine"]
    print_table(
        f"variants on this machine ({machine['instruction_set']}, {machine['workers']} workers)",
        (
            "variant",
            "MB",
            "precision",
            "target",
            "opset",
            "speed, fp32 = 1",
            "pairs/s here",
            "golden scores",
        ),
        variants,
    )
    print_table("agreement with PyTorch in fp32, where exported", ("variant", *AGREEMENT_COLUMNS), accepted)
    print_table(
        "operators",
        ("variant", "nodes"),
        [
            (variant.name, ", ".join(f"{count} {operator}" for operator, count in variant.operators.items()))
            for variant in manifest.variants
        ],
    )
    for file, here in page["here"].items():
        if here["golden"] != "as exported":
            print_line(f"{file}: {here['golden']}")
