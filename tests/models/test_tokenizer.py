"""What a model's tokenizer must have, and how many tokens a model can read: asked where cross-encoders are opened."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from crossrank.errors import UsageError
from crossrank.export.options import ExportOptions
from crossrank.export.pipeline import export_ranker
from crossrank.inference.scorer import Scorer
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.train.fit.base import open_base
from crossrank.train.recipe import Recipe
from crossrank.train.teacher import open_teacher
from tests.support.commands import crossrank
from tests.support.tiny_models import tiny_cross_encoder

LONG = ("how to read", "word " * 300)
OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text")


def change(file: Path, **changes: Any) -> None:
    """Changes keys of a JSON file; None removes one."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def nameless(model: Path) -> Path:
    """A model whose tokenizer names no length."""
    change(model / "tokenizer_config.json", model_max_length=None)
    return model


@pytest.mark.parametrize(
    ("kind", "longest"), [*((kind, 62) for kind in OFFSET), *((kind, 64) for kind in ("bert", "modernbert", "qwen2"))]
)
def test_a_model_reads_what_its_positions_allow(kind: str, longest: int, tmp_path: Path) -> None:
    model = str(nameless(tiny_cross_encoder(kind, tmp_path / "model")))
    for asked, got in ((None, longest), (longest - 1, longest - 1), (longest + 1, longest), (200, longest)):
        opened = open_cross_encoder(model, max_length=asked)
        assert opened.max_seq_length == got
        opened.predict([LONG])


@pytest.mark.parametrize("asked", [63, 64, 65])
def test_training_refuses_more_than_that(asked: int, tmp_path: Path) -> None:
    model = tiny_cross_encoder("roberta", tmp_path / "model")
    with pytest.raises(UsageError, match=r"max_length: .* reads 62 tokens at most"):
        open_base(recipe_of(model, asked))
    assert open_base(recipe_of(model, 62)).predict([LONG]).shape == (1,)


def test_training_refuses_two_padding_ids_where_positions_depend_on_one(tmp_path: Path) -> None:
    model = tiny_cross_encoder("roberta", tmp_path / "model")
    change(model / "config.json", pad_token_id=0)
    with pytest.raises(UsageError, match=r"pad_token_id is 0 in config\.json and 1 for the tokenizer"):
        open_base(recipe_of(model, 32))


def test_a_teacher_reads_what_it_can(tmp_path: Path) -> None:
    tiny_cross_encoder("roberta", tmp_path / "model")
    taught = {"loss": {"name": "mse"}, "distillation": {"teacher": str(tmp_path / "model")}}
    teacher = open_teacher(recipe_of(tmp_path / "base", 512, **taught), tmp_path / "out")
    assert teacher is not None
    assert teacher.scores([LONG]).shape == (1,)


def test_a_bi_encoder_reads_what_its_positions_allow(tmp_path: Path) -> None:
    model = nameless(tiny_cross_encoder("roberta", tmp_path / "model"))
    assert BiEncoder(str(model)).vectors([LONG[1]]).shape == (1, 32)
    assert BiEncoder(str(model), max_length=64).vectors([LONG[1]]).shape == (1, 32)


def test_export_takes_the_length_of_the_model(tmp_path: Path) -> None:
    model = nameless(tiny_cross_encoder("roberta", tmp_path / "model"))
    report = export_ranker(str(model), tmp_path / "out", ExportOptions(variants=["fp32", "pruned"], max_queries=2))
    assert report.max_length == 62
    assert [trial.failure for trial in report.trials] == [None, None]


def without_fast_form(model: Path) -> None:
    """Gives a model the tokenizer of PhoBERT's kind."""
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_text("read 9\nfile 8\nw@@ 2\n")
    (model / "bpe.codes").write_text("r e 5\n")
    change(model / "tokenizer_config.json", tokenizer_class="BertweetTokenizer", added_tokens_decoder=None)


def without_padding_token(model: Path) -> None:
    change(model / "tokenizer_config.json", pad_token=None)
    change(model / "special_tokens_map.json", pad_token=None)


def with_more_tokens_than_embeddings(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    token = {"id": len(content["model"]["vocab"]), "content": "<new>", "special": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"].append({**token, **flags})
    (model / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_fast_form, "BertweetTokenizer is not a fast tokenizer"),
        (without_padding_token, "no padding token"),
        (with_more_tokens_than_embeddings, "the model has [0-9]+ embeddings"),
    ],
)
def test_a_tokenizer_that_cannot_serve_is_refused_at_opening(spoil: Any, sentence: str, tmp_path: Path) -> None:
    model = tiny_cross_encoder("roberta", tmp_path / "model")
    spoil(model)
    with pytest.raises(UsageError, match=sentence):
        open_base(recipe_of(model, 32))
    done = crossrank("export-onnx", str(model), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "score" not in done.stderr
    assert not (tmp_path / "out").exists()


def with_too_many_types(model: Path) -> None:
    change(model / "config.json", type_vocab_size=1)
    weights = load_file(model / "model.safetensors")
    name = "bert.embeddings.token_type_embeddings.weight"
    save_file({**weights, name: weights[name][:1]}, model / "model.safetensors", metadata={"format": "pt"})


def test_more_types_of_tokens_than_embeddings_are_refused(tmp_path: Path) -> None:
    model = tiny_cross_encoder("bert", tmp_path / "model")
    with_too_many_types(model)
    with pytest.raises(UsageError, match="type_vocab_size of 1"):
        open_cross_encoder(str(model))


@pytest.mark.parametrize(
    "changes",
    [
        {"padding_side": "left"},
        {"truncation_side": "left"},
        {"model_input_names": ["input_ids", "attention_mask"]},
        {"model_max_length": 512},
    ],
)
def test_an_unusual_tokenizer_ranks_as_in_pytorch(changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_cross_encoder("bert", tmp_path / "model")
    change(model / "tokenizer_config.json", **changes)
    opened = open_cross_encoder(str(model))
    pairs = [LONG, ("what is nothing", ""), ("how to read", "def read file")]
    expected = np.concatenate([predict(opened, [pair]) for pair in pairs])
    np.testing.assert_allclose(predict(opened, pairs), expected, atol=1e-4)
    report = export_ranker(str(model), tmp_path / "out", ExportOptions(variants=["fp32", "pruned"], max_queries=2))
    for trial in report.trials:
        assert trial.failure is None
        with Scorer.open(report.directory, variant=trial.graph.name) as scorer:
            np.testing.assert_allclose(scorer.predict(pairs, score_kind="logit"), expected, atol=1e-4)


def recipe_of(base: Path, max_length: int, **others: Any) -> Recipe:
    return Recipe.model_validate(
        {"name": "tiny", "base": str(base), "max_length": max_length, "data": {"train": [{"path": "rows"}]}, **others}
    )
