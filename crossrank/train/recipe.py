"""A recipe: what one training run is, field by field."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from crossrank.inference.ranker.manifest import Activation
from crossrank.train.recipe_data import Data, Table

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


class Loss(Table):
    """What is minimised."""

    name: LossName = Field(
        "binary_cross_entropy",
        description="The loss. `fit` is that of CrossEncoder.fit (FitMixinLoss around BCEWithLogitsLoss); "
        "`cross_entropy` sets each relevant document against its own negatives; the ranking losses "
        "learn from whole lists.",
    )
    activation: Activation = Field("identity", description="Applied to the logit before the loss.")
    pos_weight: float | None = Field(None, gt=0, description="Weight of relevant documents in binary_cross_entropy.")
    num_negatives: int = Field(
        4,
        ge=0,
        description="Number of its own negatives for each relevant document, in cross_entropy, margin_mse and "
        "multiple negatives.",
    )
    in_batch_negatives: int = Field(
        4, ge=1, description="Number of further negatives from the batch, in multiple negatives."
    )
    scale: float = Field(10.0, gt=0, description="Factor of the activated logit, in multiple negatives.")
    mini_batch_size: int = Field(
        16, ge=1, description="Pairs at once in list losses, cross_entropy and the cached one."
    )

    @property
    def uses_batch(self) -> bool:
        """Whether the other documents of a batch are negatives too, so that it must hold no query twice."""
        return self.name.endswith("multiple_negatives_ranking")


class Training(Table):
    """Names and meanings of Hugging Face's TrainingArguments."""

    learning_rate: float = Field(5e-5, gt=0, description="Learning rate at its highest.")
    per_device_train_batch_size: int = Field(
        16, ge=1, description="Pairs, tuples or lists of a batch, as the loss has it."
    )
    gradient_accumulation_steps: int = Field(1, ge=1, description="Batches of one step.")
    gradient_checkpointing: bool = Field(False, description="Save memory at the cost of time.")
    num_train_epochs: float = Field(1.0, gt=0, description="Passes over the data.")
    max_steps: int = Field(-1, description="Number of steps; -1 takes as many as the epochs have.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="Course of the learning rate after the warm-up."
    )
    warmup_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of the steps until the learning rate is at its highest."
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Length that longer gradients are cut to.")
    fp16: bool = Field(False, description="Train in fp16 on a GPU; without one the run is in fp32 and says so.")
    bf16: bool = Field(
        False, description="Train in bf16 on a GPU or a CPU that has it; else the run is in fp32 and says so."
    )
    logging_steps: int = Field(10, ge=1, description="Steps between two reports of the loss.")
    save_steps: int = Field(500, ge=1, description="Steps between two checkpoints, from which a killed run resumes.")
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between two evaluations by nDCG@10 on the dev set. Default: none."
    )
    report_to: Literal["tensorboard", "wandb", "trackio", "none"] = Field(
        "none", description="Where the curves go, if installed; TensorBoard's are in `runs/` of the result."
    )

    @model_validator(mode="after")
    def _one_precision(self) -> "Training":
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 exclude each other")
        return self


class Distillation(Table):
    """A teacher whose scores take the place of the labels; a student's depth is `num_hidden_layers`."""

    teacher: str | None = Field(None, description="Cross-encoder, by its logits, or bi-encoder, by its cosine.")
    scale: float = Field(1.0, gt=0, description="Factor of the teacher's scores.")
    label_weight: float = Field(
        0.0, ge=0, description="Added for a label of 1, after scaling, so that judgements correct the teacher."
    )
    cache: Path | None = Field(
        None, description="File that keeps the teacher's scores. Default: teacher-scores.sqlite beside the result."
    )


class Packed(Table):
    """Training on packed inputs, without padding; see `crossrank.train.packed`."""

    tokens_per_batch: int = Field(16384, ge=256, description="Tokens of one step.")
    list_size: int = Field(12, ge=2, description="Documents of a query that are compared in one step.")
    exits: tuple[int, ...] = Field((), description="Layers, counted from 1, after which a small head learns the score.")


class Evaluation(Table):
    """How it is found out whether training helped."""

    without_dev: Literal["auto", "cross_validation", "hold_out", "none"] = Field(
        "auto",
        description="What is done without a dev set: auto cross-validates few queries, and holds out a fifth of many.",
    )
    folds: int = Field(5, ge=2, description="Folds of the cross-validation.")
    cross_validate_below: int = Field(300, ge=0, description="Number of queries below which auto takes them for few.")
    max_queries: int | None = Field(
        None, ge=1, description="Largest number of queries of each evaluated set, drawn by seed. Default: all."
    )


class Calibration(Table):
    """What makes `probability` scores mean something."""

    method: Literal["none", "platt", "isotonic"] = Field(
        "none", description="Curve that is fitted on held-out judgements."
    )


class Recipe(Table):
    """One training run; relative paths outside of `data` start at the working directory."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the model, of letters, digits, dots, underscores and hyphens.",
    )
    base: str = Field(description="Directory or Hugging Face id of a cross-encoder, or of a bi-encoder to start from.")
    num_hidden_layers: int | None = Field(
        None, ge=1, description="Number of layers that the base is cut to, or stacked up to. Default: its own."
    )
    max_length: int = Field(ge=8, description="Longest pair in tokens, special tokens included.")
    training_max_length: int | None = Field(
        None, ge=8, description="Tokens of a pair, and of a teacher's text, while it learns. Default: max_length."
    )
    activation: Activation | None = Field(None, description="Activation of the scores. Default: the base's own.")
    seed: int = Field(42, ge=0, description="Random seed of the head, the draws, the order and the dropout.")
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
