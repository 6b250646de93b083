"""`calibration.json`: how a ranker's logits become probabilities that hold on judged pairs.

A curve is fitted on held-out judgements. It never falls as the logit rises, so no order changes; orders come from the
logits, since a curve may give two of them the same probability.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossrank.errors import InvalidRanker

CALIBRATION_FILE = "calibration.json"

Floats = NDArray[np.float64]
Probability = Annotated[float, Field(ge=0, le=1)]
_T = TypeVar("_T")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Platt(_Strict):
    """1 / (1 + exp(-(slope * logit + intercept))) (Platt 1999); slope 1 and intercept 0 are the logistic function."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float

    def probabilities(self, logits: Floats) -> Floats:
        """Float64 in [0, 1], of the same shape."""
        # logaddexp overflows nowhere, and is exact where the probability is tiny.
        probabilities: Floats = np.exp(-np.logaddexp(0.0, -(self.slope * logits + self.intercept)))
        return probabilities


class Isotonic(_Strict):
    """Linear between knots (logit, probability), constant beyond the outermost (Zadrozny and Elkan 2002)."""

    method: Literal["isotonic"] = "isotonic"
    knots: tuple[tuple[float, Probability], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for (logit, probability), (next_logit, next_probability) in pairwise(self.knots):
            if not (logit < next_logit and probability <= next_probability):
                raise ValueError("the knots must rise by their logits, and their probabilities must not fall")
        return self

    def probabilities(self, logits: Floats) -> Floats:
        """Float64 in [0, 1], of the same shape."""
        at, probabilities = np.array(self.knots).T
        right = np.searchsorted(at, logits, side="right")
        low, high = probabilities[np.maximum(right - 1, 0)], probabilities[np.minimum(right, len(at) - 1)]
        # Knots that almost coincide have slopes that overflow.
        between: Floats = np.clip(np.interp(logits, at, probabilities), low, high)
        return between


Curve = Annotated[Platt | Isotonic, Field(discriminator="method")]


class Bin(_Strict):
    """A bin of a reliability diagram: pairs with like probabilities."""

    predicted: Probability = Field(description="mean probability")
    observed: Probability = Field(description="mean label: the share that is relevant")
    count: int = Field(gt=0, description="pairs")


class BeforeAndAfter(_Strict, Generic[_T]):
    """Of the logistic function of the logits, and of the curve on queries that it was not fitted on."""

    before: _T
    after: _T


class Calibration(_Strict):
    """The calibration of a ranker, as `calibration.json` holds it."""

    curve: Curve
    judgements: int = Field(gt=0, description="judged pairs that the curve was fitted on")
    expected_calibration_error: BeforeAndAfter[Probability]
    bins: BeforeAndAfter[tuple[Bin, ...]] = Field(description="of the reliability diagrams, by rising probability")

    def apply(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turns logits into probabilities, computed in float64.

        Args:
            logits: float32, shape [n].

        Returns:
            float32, shape [n], in [0, 1].
        """
        return self.curve.probabilities(logits.astype(np.float64)).astype(np.float32)

    def __str__(self) -> str:
        error = self.expected_calibration_error
        return (
            f"{self.curve.method}, fitted on {self.judgements} judgements; "
            f"expected calibration error {error.before:.3f} before, {error.after:.3f} after"
        )


def read_calibration(directory: Path) -> Calibration | None:
    """Reads the calibration of a model's or a ranker's directory; None where it has none.

    Raises:
        InvalidRanker: the file cannot be read or is not a calibration.
    """
    path = directory / CALIBRATION_FILE
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidRanker(f"{directory.name}: {CALIBRATION_FILE} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InvalidRanker(
            f"{directory.name}: {CALIBRATION_FILE} is not a calibration: {where}: {first['msg']}; "
            "fit it again, or remove it"
        ) from None


def write_calibration(calibration: Calibration, directory: Path) -> None:
    """Writes `calibration.json` into a directory that exists; the file is complete whenever it is there."""
    path = directory / CALIBRATION_FILE
    beside = path.with_name(f".{CALIBRATION_FILE}.new")
    beside.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
