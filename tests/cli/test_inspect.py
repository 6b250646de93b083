import json
import shutil
from pathlib import Path

from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.manifest import read_manifest
from tests.support.commands import crossrank


def test_the_page_shows_each_variant_and_how_it_runs_here(tiny: ExportReport) -> None:
    shown = crossrank("inspect", str(tiny.directory), "--json")
    assert shown.returncode == 0, shown.stderr
    page = json.loads(shown.stdout)
    manifest = read_manifest(tiny.directory)
    assert page["manifest"] == json.loads(manifest.model_dump_json())
    assert page["version"] == manifest.version
    assert set(page["here"]) == {variant.file for variant in manifest.variants}
    assert all(here["golden"] == "as exported" for here in page["here"].values())
    assert all(here["pairs_per_second"] > 0 for here in page["here"].values())
    assert page["megabytes"]["onnx/model.onnx"] > 0
    assert page["calibration"] is None


def test_a_variant_that_differs_is_said_in_words(tiny: ExportReport, tmp_path: Path) -> None:
    shutil.copytree(tiny.directory, tmp_path / "ranker")
    path = tmp_path / "ranker" / "onnx" / "manifest.json"
    manifest = json.loads(path.read_text())
    next(variant for variant in manifest["variants"] if variant["file"] == "onnx/model.onnx")["golden"][2]["logit"] += 1
    path.write_text(json.dumps(manifest))
    shown = crossrank("inspect", str(tmp_path / "ranker"), "--no-speed")
    assert shown.returncode == 0, shown.stderr
    assert "golden pair 2 (" in shown.stdout
    assert "qint8_per_token" in shown.stdout
    assert "MatMulIntegerToFloat" in shown.stdout


def test_a_calibration_is_shown_with_its_error(calibrated: Path) -> None:
    page = json.loads(crossrank("inspect", str(calibrated), "--no-speed", "--json").stdout)
    assert page["calibration"]["curve"] == {"method": "platt", "slope": 0.5, "intercept": -1.5}
    assert page["calibration"]["expected_calibration_error"] == {"before": 0.25, "after": 0.125}
    shown = " ".join(crossrank("inspect", str(calibrated), "--no-speed").stdout.replace("│", " ").split())
    assert "platt, fitted on 7 judgements; expected calibration error 0.250 before, 0.125 after" in shown


def test_what_is_no_ranker(tmp_path: Path) -> None:
    shown = crossrank("inspect", str(tmp_path))
    assert shown.returncode == 2
    assert "is not a ranker: it has no onnx/manifest.json" in shown.stderr.splitlines()[-1]
