"""Options of `crossrank train`: how a recipe is run."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class TrainOptions(BaseModel):
    """How a recipe is run: with which changes, where to, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overrides: tuple[str, ...] = Field(
        (),
        description="A key of the recipe and its value, KEY=VALUE, in the place of the file's; repeatable.",
        json_schema_extra={"flag": "--set"},
    )
    out: Path | None = Field(None, description="Directory to write. Default: the recipe's name.")
    force: bool = Field(False, description="Replace the directory, or another unfinished run, if there is one.")
    time_limit: float | None = Field(
        None, ge=0, description="Minutes after which the run stops; the same command resumes it. Default: no limit."
    )
    prepare: Path | None = Field(
        None, description="File for packed inputs of `python -m crossrank.train.packed`; nothing is trained."
    )
    share: float = Field(1.0, gt=0, le=1, description="Share of the queries that is prepared, for rehearsals.")
    require_better: bool = Field(False, description="Exit with 3 unless the verdict is that the training helped.")

    @field_validator("share")
    @classmethod
    def _of_what_is_prepared(cls, share: float, info: ValidationInfo) -> float:
        if info.data.get("prepare") is None:
            raise PydanticCustomError("nothing_prepared", "nothing is prepared; set prepare too")
        return share
