"""Options of `crossrank evaluate`: which model is measured, and on what of a set."""

from pydantic import BaseModel, ConfigDict, Field


class EvaluationOptions(BaseModel):
    """Which model is measured, beside which bi-encoder, and on which split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        None,
        description="Directory or Hugging Face id of a cross-encoder or a ranker. "
        "Default: the ranker that comes with crossrank.",
    )
    variant: str | None = Field(None, description="Variant of a ranker. Default: the one that is served.")
    base: str | None = Field(
        None, description="Bi-encoder whose cosine order is shown. Default: what the model came from."
    )
    split: str | None = Field(None, description="Split of a set with qrels/SPLIT.tsv. Default: test, else dev.")
