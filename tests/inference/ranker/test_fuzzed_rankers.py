"""Files of a ranker, a server's configuration and a feedback store, changed at random: each opens, or is refused.

Whatever is in them, only errors of crossrank come out, which are sentences.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from crossrank.calibration.curves import CALIBRATION_FILE, Platt, write_calibration
from crossrank.errors import CrossrankError
from crossrank.feedback.reader import open_reader
from crossrank.feedback.store import FeedbackStore
from crossrank.inference.scorer import Scorer
from crossrank.serve.load_settings import load_settings
from crossrank.v1 import ranker_pb2
from tests.conftest import calibration_with
from tests.support.small_ranker import FILE, resign, small_ranker

# Seconds for all targets of the long run together.
_LONG = float(os.environ.get("CROSSRANK_FUZZ_SECONDS", "600"))

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**12, 10**30, -1, 2**31, 2**63]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "../x", "\0", "a" * 2000]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)


@st.composite
def _bytes_like(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with a few cuts, overwritten and repeated parts."""
    changed = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        end = min(len(changed), start + draw(st.sampled_from([0, 1, 1, 2, 8, 100, 10**6])))
        part = draw(st.one_of(st.binary(max_size=8), st.just(bytes(changed[start:end]) * 2)))
        changed[start:end] = part
    return bytes(changed)


@st.composite
def _json_like(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with a few values replaced, removed or added anywhere; sometimes with changed bytes."""
    content = json.loads(original)
    for _ in range(draw(st.integers(1, 3))):
        part: Any = content
        while isinstance(part, dict | list) and part:
            key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
            if not isinstance(part[key], dict | list) or not part[key] or draw(st.integers(0, 3)) == 0:
                act = draw(st.sampled_from(["replace", "remove", "add"]))
                if act == "remove":
                    del part[key]
                elif act == "replace":
                    part[key] = draw(_VALUES)
                elif isinstance(part, dict):
                    part[draw(st.text(max_size=8))] = draw(_VALUES)
                else:
                    part.append(draw(_VALUES))
                break
            part = part[key]
    written = json.dumps(content).encode()
    return draw(_bytes_like(written)) if draw(st.integers(0, 9)) == 0 else written


def _open(ranker: Path) -> None:
    with Scorer.open(ranker, workers=1) as scorer:
        scorer.predict([("a b", "c"), ("z", "\u0131 \U0001f642")])


def _ranker_with(file: str) -> Callable[[Path, bytes], None]:
    def attempt(ranker: Path, content: bytes) -> None:
        (ranker / file).write_bytes(content)
        if file != "onnx/manifest.json":
            resign(ranker)
        _open(ranker)

    return attempt


def _calibrated(ranker: Path) -> None:
    write_calibration(calibration_with(Platt(slope=0.5, intercept=-1.5)), ranker)
    manifest = json.loads((ranker / "onnx" / "manifest.json").read_text())
    resign(ranker, {**manifest, "files": {**manifest["files"], CALIBRATION_FILE: ""}})


def _configured(ranker: Path) -> None:
    (ranker / "serve.toml").write_text('port = 1\nranker = "x"\n[rankers.other]\npath = "y"\nvariant = "z"\n')


def _stored(ranker: Path) -> None:
    store = FeedbackStore(ranker / "feedback.db", keep_texts=True)
    document = ranker_pb2.Document(id="d", text="a text")
    store.show(
        ranker_pb2.RankRequest(query="q", documents=[document]),
        ranker_pb2.RankResponse(request_id="r", results=[ranker_pb2.RankResult(index=0, id="d", score=1.0)]),
    )
    store.close()


def _read_store(ranker: Path, content: bytes) -> None:
    path = ranker / "changed.db"
    path.write_bytes(content)
    with open_reader(path) as reader:
        reader.impressions()
        reader.feedback()
        list(reader.ratings())
        list(reader.clicked_answers())


def _read_config(ranker: Path, content: bytes) -> None:
    path = ranker / "changed.toml"
    path.write_bytes(content)
    load_settings({}, path)


_NOTHING: Callable[[Path], None] = lambda ranker: None  # noqa: E731
_TARGETS: dict[str, tuple[Callable[[Path], None], str, Any, Callable[[Path, bytes], None]]] = {
    "manifest": (_NOTHING, "onnx/manifest.json", _json_like, _ranker_with("onnx/manifest.json")),
    "tokenizer": (_NOTHING, "tokenizer.json", _json_like, _ranker_with("tokenizer.json")),
    "graph": (_NOTHING, FILE, _bytes_like, _ranker_with(FILE)),
    "calibration": (_calibrated, CALIBRATION_FILE, _json_like, _ranker_with(CALIBRATION_FILE)),
    "config": (_configured, "serve.toml", _bytes_like, _read_config),
    "feedback": (_stored, "feedback.db", _bytes_like, _read_store),
}


def _fuzz(target: str, ranker: Path, *, examples: int, number: int) -> int:
    """Tries changed files; gives how many were tried."""
    prepare, file, changed, attempt = _TARGETS[target]
    prepare(ranker)
    original = (ranker / file).read_bytes()
    manifest = (ranker / "onnx" / "manifest.json").read_bytes()
    tried = 0

    @seed(number)
    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(changed(original))
    def run(content: bytes) -> None:
        nonlocal tried
        tried += 1
        (ranker / "onnx" / "manifest.json").write_bytes(manifest)
        try:
            attempt(ranker, content)
        except CrossrankError as error:
            assert str(error)

    run()
    return tried


@pytest.mark.parametrize("target", _TARGETS)
def test_a_changed_file_opens_or_is_refused(target: str, tmp_path: Path) -> None:
    assert _fuzz(target, small_ranker(tmp_path / "ranker"), examples=60, number=0) > 0


@pytest.mark.verify
@pytest.mark.parametrize("target", _TARGETS)
def test_many_changed_files_open_or_are_refused(
    target: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    until = time.monotonic() + _LONG / len(_TARGETS)
    tried, number = 0, time.time_ns()
    while time.monotonic() < until:
        tried += _fuzz(target, small_ranker(tmp_path / f"ranker{number}"), examples=200, number=number)
        number += 1
    record_property("executions", tried)
    print(f"{target}: {tried} executions")
