"""Probabilities by a ranker's calibration: the curves, the file, and every way that a score leaves."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossrank.calibration.curves import CALIBRATION_FILE, Isotonic, Platt, read_calibration, write_calibration
from crossrank.client import RankClient
from crossrank.errors import InvalidRanker
from crossrank.inference.ranker.directory import open_ranker
from crossrank.inference.scorer import Scorer
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.conftest import calibration_with
from tests.inference.ranker.test_golden import change_manifest

QUERY = "how to read a file"
TEXTS = [
    "paris is the capital of france",
    "",
    "def add(a, b): return a + b",
    "read a long file",
    "import json",
    "a b c",
]
PAIRS = [(QUERY, text) for text in TEXTS]
# Every logit gets the same probability.
FLAT = Isotonic(knots=((-100.0, 0.25), (100.0, 0.25)))

floats = st.floats(-1e6, 1e6)
platts = st.builds(Platt, slope=st.floats(1e-6, 1e3), intercept=st.floats(-1e3, 1e3))


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    logits = sorted(draw(st.sets(floats, min_size=1, max_size=20)))
    probabilities = sorted(draw(st.lists(st.floats(0, 1), min_size=len(logits), max_size=len(logits))))
    return Isotonic(knots=tuple(zip(logits, probabilities, strict=True)))


@given(platts | isotonics(), st.lists(st.floats(width=32, allow_nan=False), max_size=50))
@example(Isotonic(knots=((-1.0, 0.0), (-2e-313, 0.0), (2e-311, 0.5), (0.5, 0.5), (1.5, 0.9))), [0.0, 1.0])
def test_a_curve_gives_probabilities_and_never_falls(curve: Platt | Isotonic, logits: list[float]) -> None:
    given_logits = np.array(sorted(logits), dtype=np.float32)
    probabilities = calibration_with(curve).apply(given_logits)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == given_logits.shape
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) >= 0).all()


def apply(curve: Platt | Isotonic, logits: list[float]) -> NDArray[np.float32]:
    return calibration_with(curve).apply(np.array(logits, dtype=np.float32))


def test_golden_values() -> None:
    # 1 / (1 + e^1), 1 / 2, 1 / (1 + e^-3); and e^-101, which no float32 holds, as 0.
    platt = Platt(slope=2.0, intercept=-1.0)
    assert apply(platt, [0.0, 0.5, 2.0, -50.0]).tolist() == pytest.approx([0.26894143, 0.5, 0.95257413, 0.0])
    assert apply(platt, [-20.0])[0] == pytest.approx(np.exp(-41.0), rel=1e-6)
    isotonic = Isotonic(knots=((-1.0, 0.1), (0.0, 0.2), (2.0, 0.8)))
    logits = [-9.0, -1.0, -0.5, 0.0, 0.5, 2.0, np.inf]
    assert apply(isotonic, logits).tolist() == pytest.approx([0.1, 0.1, 0.15, 0.2, 0.35, 0.8, 0.8])


@given(platts | isotonics())
def test_a_file_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, curve: Platt | Isotonic) -> None:
    directory = tmp_path_factory.getbasetemp()
    write_calibration(calibration_with(curve), directory)
    assert read_calibration(directory) == calibration_with(curve)


def test_a_directory_without_one(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: file["curve"].update(slope=0), "curve.platt.slope: Input should be greater than 0"),
        (lambda file: file["curve"].update(intercept=float("nan")), "intercept: Input should be a finite number"),
        (lambda file: file["curve"].update(method="beta"), "curve: Input tag 'beta'"),
        (lambda file: file["curve"].update(temperature=2), "temperature: Extra inputs are not permitted"),
        (lambda file: file.update(note="x"), "note: Extra inputs are not permitted"),
        (lambda file: file.pop("judgements"), "judgements: Field required"),
        (lambda file: file["expected_calibration_error"].update(after=1.5), "after: Input should be less than"),
        (lambda file: file.update(curve={"method": "isotonic", "knots": []}), "knots: Tuple should have at least 1"),
        (lambda file: file.update(curve={"method": "isotonic", "knots": [[0, 1.5]]}), r"knots\.0\.1: Input should be"),
        (
            lambda file: file.update(curve={"method": "isotonic", "knots": [[1, 0.1], [0, 0.2]]}),
            "isotonic: Value error, the knots must rise",
        ),
        (lambda file: file.update(curve={"method": "isotonic", "knots": [[0, 0.2], [1, 0.1]]}), "must not fall"),
    ],
)
def test_what_is_no_calibration_is_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    file = calibration_with(Platt(slope=1.0, intercept=0.0)).model_dump(mode="json")
    change(file)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps(file))
    with pytest.raises(
        InvalidRanker, match=rf"calibration\.json is not a calibration: .*{sentence}.*; fit it again"
    ) as seen:
        read_calibration(tmp_path)
    assert "\n" not in str(seen.value)
    assert str(tmp_path.parent) not in str(seen.value)


def test_text_and_bytes_that_are_no_json(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"[1, 2", b"null"):
        (tmp_path / CALIBRATION_FILE).write_bytes(content)
        with pytest.raises(InvalidRanker, match=r"calibration\.json is not a calibration: the whole file: "):
            read_calibration(tmp_path)


@pytest.fixture
def copied(calibrated: Path, tmp_path: Path) -> Path:
    shutil.copytree(calibrated, tmp_path / "ranker")
    return tmp_path / "ranker"


@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        (lambda path: path.write_text(path.read_text().replace("-1.5", "-1.6")), "is not the file that the manifest"),
        (lambda path: path.unlink(), "calibration.json is missing"),
        (lambda path: path.rename(path.parent.parent / "x") and path.symlink_to("../x"), "leads outside"),
        (
            lambda path: change_manifest(path.parent, lambda manifest: manifest["files"].pop(CALIBRATION_FILE)),
            "the manifest gives no sha256 for calibration.json",
        ),
    ],
)
def test_a_ranker_is_held_to_its_calibration(copied: Path, sabotage: Callable[[Path], object], sentence: str) -> None:
    assert open_ranker(copied).calibration is not None
    sabotage(copied / CALIBRATION_FILE)
    with pytest.raises(InvalidRanker, match=sentence):
        open_ranker(copied)


def test_a_calibration_makes_another_version(copied: Path) -> None:
    before = open_ranker(copied).manifest.version
    write_calibration(calibration_with(FLAT), copied)
    change_manifest(copied, lambda manifest: None)
    assert open_ranker(copied).manifest.version != before


def test_the_directory_opens_in_sentence_transformers(calibrated: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    opened: Any = CrossEncoder(str(calibrated), backend="onnx", model_kwargs={"file_name": "model.onnx"})
    with Scorer.open(calibrated) as scorer:
        logits = scorer.predict(PAIRS, score_kind="logit")
    np.testing.assert_allclose(opened.predict(PAIRS, activation_fn=Identity()), logits, atol=1e-4)


@pytest.fixture(scope="module")
def target(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of `calibrated`, and of `flat`, which is the same with one probability for all."""
    flat = tmp_path_factory.mktemp("served") / "flat"
    shutil.copytree(calibrated, flat)
    write_calibration(calibration_with(FLAT), flat)
    change_manifest(flat, lambda manifest: None)
    with local_server(str(calibrated), "--ranker", f"flat={flat}") as (address, _):
        yield address


@pytest.fixture
def stub(target: str) -> Iterator[ranker_pb2_grpc.RankServiceStub]:
    with grpc.insecure_channel(target) as channel:
        yield ranker_pb2_grpc.RankServiceStub(channel)


def score(stub: ranker_pb2_grpc.RankServiceStub, kind: ranker_pb2.ScoreKind.ValueType) -> NDArray[np.float32]:
    pairs = [ranker_pb2.Pair(query=query, document=text) for query, text in PAIRS]
    response = stub.Score(ranker_pb2.ScoreRequest(pairs=pairs, score_kind=kind), timeout=120)
    return np.array(response.scores, dtype=np.float32)


def rank_request(**fields: Any) -> ranker_pb2.RankRequest:
    documents = [ranker_pb2.Document(text=text) for text in TEXTS]
    return ranker_pb2.RankRequest(query=QUERY, documents=documents, request_id="r", **fields)


def test_every_way_out_gives_calibrated_probabilities(
    calibrated: Path, target: str, stub: ranker_pb2_grpc.RankServiceStub
) -> None:
    logits = score(stub, ranker_pb2.SCORE_KIND_LOGIT)
    expected = calibration_with(Platt(slope=0.5, intercept=-1.5)).apply(logits)
    assert np.ptp(expected) > 0.01
    assert np.abs(expected - 1 / (1 + np.exp(-logits))).min() > 0.01, "it could be the logistic function"
    # The model ends in the logistic function, so that its own scores are probabilities too.
    for kind in (ranker_pb2.SCORE_KIND_PROBABILITY, ranker_pb2.SCORE_KIND_UNSPECIFIED):
        assert score(stub, kind).tolist() == expected.tolist()
        ranked = stub.Rank(rank_request(score_kind=kind), timeout=120)
        (streamed,) = stub.RankStream(iter([ranker_pb2.RankStreamRequest(request=rank_request(score_kind=kind))]))
        for results in (ranked.results, streamed.response.results):
            assert [result.score for result in results] == expected[[result.index for result in results]].tolist()
    with Scorer.open(calibrated) as scorer, RankClient(target) as client:
        assert scorer.predict(PAIRS).tolist() == client.predict(PAIRS).tolist() == expected.tolist()
        assert scorer.rank(QUERY, TEXTS) == client.rank(QUERY, TEXTS)
        assert scorer.rank(QUERY, []) == []


def test_equal_probabilities_keep_the_order_of_the_logits(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    logits = score(stub, ranker_pb2.SCORE_KIND_LOGIT)
    response = stub.Rank(rank_request(model="flat", top_n=5), timeout=120)
    assert {result.score for result in response.results} == {0.25}
    assert [result.index for result in response.results] == np.argsort(-logits, kind="stable")[:5].tolist()
