"""What all rooms need: a tiny cross-encoder with its ranker, a server with the default one, and the distributions."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from crossrank.serve.local import local_server

if TYPE_CHECKING:
    from crossrank.calibration.curves import Calibration, Isotonic, Platt
    from crossrank.export.pipeline import ExportReport

# The servers of tests take free ports for HTTP.
os.environ["CROSSRANK_HTTP_PORT"] = "0"

# Hypothesis would else fail what takes longer than 200 ms, or examples that take long to make, on a busy machine.
settings.register_profile("no-timing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-timing")

HELDOUT = Path(__file__).parent.parent / "crossrank" / "train" / "recipes" / "code-search-heldout"


def built(target: str, directory: Path) -> Path:
    """The distribution of this tree: "wheel" or "sdist"."""
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=True, capture_output=True)
    (distribution,) = directory.iterdir()
    return distribution


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return built("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this tree."""
    return built("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights, with its head; tests copy it before they change it."""
    from tests.support.tiny_models import tiny_cross_encoder

    return tiny_cross_encoder("bert", tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> "ExportReport":
    """The export of `tiny_model`, beside it, in variants for several machines; tests copy it before they change it."""
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker
    from crossrank.inference.ranker.manifest import Budget

    variants = ["auto", "fp16", "quint8_avx2", "qint8_avx512_vnni"]
    # Random weights leave scores so near each other that an honest budget would refuse int8.
    budget = Budget(max_ndcg_drop=None, min_top1_agreement=0)
    options = ExportOptions(variants=variants, eval_sets=[HELDOUT], budget=budget)
    return export_ranker(str(tiny_model), tiny_model.parent / "ranker", options)


def calibration_with(curve: "Platt | Isotonic") -> "Calibration":
    """A calibration with a curve, and figures that nobody measured."""
    from crossrank.calibration.curves import BeforeAndAfter, Bin, Calibration

    bins = (Bin(predicted=0.25, observed=0.5, count=3), Bin(predicted=0.75, observed=0.5, count=4))
    return Calibration(
        curve=curve,
        judgements=7,
        expected_calibration_error=BeforeAndAfter(before=0.25, after=0.125),
        bins=BeforeAndAfter(before=bins, after=bins),
    )


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ranker of a tiny cross-encoder that ends in the logistic function and holds a calibration."""
    from crossrank.calibration.curves import Platt, write_calibration
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker
    from tests.support.tiny_models import tiny_cross_encoder

    root = tmp_path_factory.mktemp("calibrated")
    tiny_cross_encoder("bert", root / "model")
    write_calibration(calibration_with(Platt(slope=0.5, intercept=-1.5)), root / "model")
    options = ExportOptions(variants=["fp32"], max_queries=2)
    return export_ranker(str(root / "model"), root / "ranker", options).directory


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server with the default ranker, which computes each pair as often as it comes."""
    with local_server("--score-cache", "0") as (target, _):
        yield target
