"""Options of `crossrank feedback export`: what gives labels, and where texts come from."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class LabelOptions(BaseModel):
    """What gives labels, and where texts come from that the store does not keep.

    `corpus` is a directory with corpus.jsonl and, where the store keeps no queries, queries.jsonl whose `query_id` is
    the `request_id` of the call; or a file as corpus.jsonl.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: Path | None = Field(
        None,
        description="Directory (or file) of texts that the store does not hold: corpus.jsonl by document id, "
        "queries.jsonl by request id.",
    )
    use_clicks: bool = Field(False, description="Label what nobody rated by its clicks.")
    # Measured values are about 1; a power of a rank must stay a number.
    position_bias_eta: float = Field(
        0.0, ge=0, le=10, description="Weigh each click by rank^ETA, against position bias. 0 weighs all alike."
    )
    force: bool = Field(False, description="Replace the file if it exists.")

    @field_validator("position_bias_eta")
    @classmethod
    def _of_clicks(cls, eta: float, info: ValidationInfo) -> float:
        if eta and not info.data.get("use_clicks"):
            raise PydanticCustomError("no_clicks", "weighs clicks, which are not used; set use_clicks too")
        return eta
