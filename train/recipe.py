"""A recipe: one TOML file that says everything about one training run."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve.errors import UsageError
from serve.manifest import Activation


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Negatives(_Table):
    """What a judged set without judged negatives is filled up with, for each query."""

    bm25: int = Field(3, ge=0, description="drawn from the best `depth` of BM25")
    random: int = Field(1, ge=0, description="drawn from the whole corpus")
    depth: int = Field(30, ge=1, description="how far down BM25's list the hard ones may come from")


class Data(_Table):
    """Where the judgements are; relative paths start at `root`."""

    root: Path | None = Field(None, description="default: the recipe's own directory")
    train: Path = Field(description="a judged set (directory), or rows (.jsonl, .csv, .parquet)")
    dev: Path | None = Field(None, description="a judged set that the model never trains on")
    max_queries: int | None = Field(None, ge=1, description="train on so many queries of a judged set, drawn by seed")
    negatives: Negatives = Negatives()


class Loss(_Table):
    """What is minimised."""

    name: Literal["binary_cross_entropy", "fit"] = Field(
        "binary_cross_entropy",
        description="`fit` is the loss of CrossEncoder.fit: FitMixinLoss around BCEWithLogitsLoss",
    )
    activation: Activation = Field("identity", description="applied to the logit before the loss")


class Training(_Table):
    """Names and meanings of Hugging Face's TrainingArguments."""

    learning_rate: float = Field(5e-5, gt=0)
    per_device_train_batch_size: int = Field(16, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    num_train_epochs: float = Field(1.0, gt=0)
    max_steps: int = Field(-1, description="a fixed number of steps; -1: as many as the epochs have")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    fp16: bool = Field(False, description="on a GPU; without one the run is in fp32 and says so")
    bf16: bool = Field(False, description="on a GPU or a CPU that has it; else the run is in fp32 and says so")
    logging_steps: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _one_precision(self) -> "Training":
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 exclude each other")
        return self


class Recipe(_Table):
    """One training run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: str = Field(description="directory or Hugging Face id of a cross-encoder, or of a bi-encoder to start from")
    num_hidden_layers: int | None = Field(None, ge=1, description="cut to, or stack up to, so many layers")
    max_length: int = Field(ge=8, description="longest pair in tokens, special tokens included")
    activation: Activation | None = Field(None, description="of the scores; default: the base's own")
    seed: int = 42
    data: Data
    loss: Loss = Loss()
    training: Training = Training()


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: a TOML file.
        overrides: "key=value" with dotted keys and TOML values; paths in them start at the working directory.

    Raises:
        UsageError: no such file, no TOML, an unknown key (the nearest known one is named), a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    table.setdefault("data", {}).setdefault("root", str(path.resolve().parent))
    for override in overrides:
        _apply(table, override)
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {_sentence(error)}") from None
    root = recipe.data.root or Path()
    absolute = {name: (root / given).resolve() for name in ("train", "dev") if (given := getattr(recipe.data, name))}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=absolute)})


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override}: write it as key=value")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word or a path needs no quotes
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {override}: {parent} is not a table")
    if parents == ["data"] and last in ("root", "train", "dev"):
        value = str(Path(value).resolve())
    table[last] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}"
    known: list[str] = []
    _collect(Recipe, "", known)
    nearest = difflib.get_close_matches(where, known, n=1, cutoff=0.0)[0]
    return f"{where} is not a key of a recipe; the nearest is {nearest}"


def _collect(table: type[BaseModel], prefix: str, known: list[str]) -> None:
    for name, field in table.model_fields.items():
        known.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            _collect(field.annotation, f"{prefix}{name}.", known)
