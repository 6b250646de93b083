"""A small evaluation set of made-up texts, a recipe on it, and tiny models that share its tokenizer."""

import random
import shutil
from pathlib import Path

import torch
from transformers import BertModel

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.train.packed.inputs import PackedInputs
from crossrank.train.packed.prepare import prepare_inputs
from crossrank.train.recipe import Recipe
from tests.support.tiny_models import tiny_cross_encoder

_WORDS = ["read", "file", "city", "capital", "france", "paris", "add", "two", "numbers", "return", "json", "parse"]


def made_set(directory: Path, queries: int, seed: int) -> Path:
    """A query shares three words with its document."""
    draw = random.Random(seed)
    corpus, asked, qrels = {}, {}, {}
    for number in range(queries):
        words = draw.sample(_WORDS, 3)
        asked[f"q{number}"] = " ".join(words)
        corpus[f"d{number}"] = " ".join([*words, *draw.choices(_WORDS, k=draw.randint(1, 12))])
        qrels[f"q{number}"] = {f"d{number}": 1}
    write_judged_set(JudgedSet(asked, corpus, qrels, {query: sorted(corpus)[:20] for query in asked}), directory)
    return directory


def made_recipe(directory: Path, **packed: object) -> Recipe:
    """A recipe on two made sets; base and teacher are tiny BERTs in `directory`/model and `directory`/teacher."""
    model = tiny_cross_encoder("bert", directory / "model")
    torch.manual_seed(1)
    BertModel.from_pretrained(model).save_pretrained(directory / "teacher", safe_serialization=True)
    shutil.copy(model / "tokenizer.json", directory / "teacher" / "tokenizer.json")
    train, tune = made_set(directory / "train", 40, 1), made_set(directory / "tune", 12, 2)
    return Recipe.model_validate(
        {
            "name": "made",
            "base": str(model),
            "max_length": 48,
            "training_max_length": 32,
            "data": {"train": [{"path": str(train)}], "dev": str(tune)},
            "distillation": {"label_weight": 2.0},
            "loss": {"name": "list_net"},
            "training": {"learning_rate": 1e-3},
            "packed": {"tokens_per_batch": 900, "list_size": 4, "exits": [1], **packed},
        }
    )


def made_inputs(directory: Path, **packed: object) -> PackedInputs:
    """The packed inputs of `made_recipe`."""
    return prepare_inputs(made_recipe(directory, **packed))
