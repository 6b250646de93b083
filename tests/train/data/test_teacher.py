from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from crossrank.data.examples import Example
from crossrank.errors import UsageError
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.models.packaged import PACKAGED_BASE, packaged_base
from crossrank.train.recipe import Distillation
from crossrank.train.teacher import Teacher
from tests.support.tiny_models import tiny_cross_encoder

EXAMPLES = [
    Example("read a file", ("def read(path): ...", "def add(a, b): ..."), (1.0, 0.0)),
    Example("capital of france", ("paris is the capital", "def read(path): ..."), (1.0, 0.0)),
]
PAIRS = [(example.query, document) for example in EXAMPLES for document in example.documents]


def labels(teacher: Teacher) -> list[float]:
    return [label for example in teacher.relabel(EXAMPLES) for label in example.labels]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_cross_encoder("bert", tmp_path_factory.mktemp("teacher") / "model"))


def test_a_cross_encoder_teaches_its_logits(cross_encoder: str, tmp_path: Path) -> None:
    teacher = Teacher(Distillation(teacher=cross_encoder, scale=2.0), tmp_path / "scores", 32)
    expected = 2 * predict(open_cross_encoder(cross_encoder, max_length=32), PAIRS)
    assert labels(teacher) == pytest.approx(expected.tolist(), abs=1e-5)


def test_judgements_correct_the_teacher(cross_encoder: str, tmp_path: Path) -> None:
    taught = labels(Teacher(Distillation(teacher=cross_encoder), tmp_path / "scores", 32))
    corrected = labels(Teacher(Distillation(teacher=cross_encoder, label_weight=3.0), tmp_path / "scores", 32))
    assert np.subtract(corrected, taught) == pytest.approx([3.0, 0.0, 3.0, 0.0], abs=1e-6)


def test_a_bi_encoder_teaches_its_cosine(tmp_path: Path) -> None:
    teacher = Teacher(Distillation(teacher=PACKAGED_BASE), tmp_path / "scores", 32)
    vectors = SentenceTransformer(str(packaged_base())).encode(
        [text for pair in PAIRS for text in pair], normalize_embeddings=True
    )
    assert labels(teacher) == pytest.approx((vectors[::2] * vectors[1::2]).sum(axis=1).tolist(), abs=1e-5)


def test_a_pair_is_scored_once_for_a_model_and_a_length(
    cross_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Sequence[tuple[str, str]]] = []

    def counted(model: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        scored.append(pairs)
        return np.arange(len(pairs), dtype=np.float32)

    monkeypatch.setattr("crossrank.train.teacher.predict", counted)
    wanted = Distillation(teacher=cross_encoder)
    first = labels(Teacher(wanted, tmp_path / "scores", 32))
    assert labels(Teacher(wanted, tmp_path / "scores", 32)) == first == [0.0, 1.0, 2.0, 3.0]
    assert [len(pairs) for pairs in scored] == [4]
    labels(Teacher(wanted, tmp_path / "scores", 16))
    assert [len(pairs) for pairs in scored] == [4, 4]


def test_a_file_that_keeps_no_scores(cross_encoder: str, tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("no database, but long enough to be taken for one" * 10)
    with pytest.raises(UsageError, match="cannot keep a teacher's scores"):
        Teacher(Distillation(teacher=cross_encoder), tmp_path / "scores", 32)
