"""Packed inputs: texts as 16-bit token ids, judgements and first-stage lists, in one compressed file that travels."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]

# In a first-stage list: there is no further document.
NO_DOCUMENT = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class PackedSet:
    """One source: its queries and documents by text number, its judgements by position in these.

    Attributes:
        name: of the source.
        facts: what the recipe and the source say of it: weight, label_weight, licence.
        queries: text numbers, int32 [queries].
        documents: text numbers, int32 [documents].
        judged: query position and document position, int32 [judgements, 2].
        grades: float32 [judgements], 0 for not relevant.
        first_stage: document positions in BM25's order, uint16 [queries, depth]; or, of a set to evaluate on, its
            candidates. `NO_DOCUMENT` fills up.
    """

    name: str
    facts: dict[str, Any]
    queries: Ints
    documents: Ints
    judged: Ints
    grades: NDArray[np.float32]
    first_stage: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PackedInputs:
    """Everything that a run learns from and is evaluated on.

    Attributes:
        tokens: of all texts, one after the other, without special tokens; uint16.
        starts: where each text begins in `tokens`, and the end of the last; int64 [texts + 1].
        special: ids of [CLS], [SEP] and [PAD].
        train: the sources to learn from.
        tune: the sets to evaluate on.
        recipe: the resolved recipe as TOML, without its data.
    """

    tokens: NDArray[np.uint16]
    starts: NDArray[np.int64]
    special: dict[str, int]
    train: list[PackedSet]
    tune: list[PackedSet]
    recipe: str

    @property
    def lengths(self) -> Ints:
        """Tokens of each text, int32 [texts]."""
        return np.diff(self.starts).astype(np.int32)


def write_inputs(inputs: PackedInputs, path: Path) -> None:
    """Writes one .npz whose members are compressed by LZMA; `numpy.load` opens it."""
    facts = {
        "special": inputs.special,
        "recipe": inputs.recipe,
        "train": [(part.name, part.facts) for part in inputs.train],
        "tune": [(part.name, part.facts) for part in inputs.tune],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("facts.json", json.dumps(facts))
        for name, array in _arrays(inputs):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def read_inputs(path: Path) -> PackedInputs:
    """Reads what `write_inputs` wrote.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile: it is another file, or a damaged one.
    """
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("facts.json"))

        def array(name: str) -> Any:
            with archive.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)

        def sets(side: str) -> list[PackedSet]:
            return [
                PackedSet(
                    name,
                    about,
                    array(f"{side}/{number}/queries"),
                    array(f"{side}/{number}/documents"),
                    array(f"{side}/{number}/judged"),
                    array(f"{side}/{number}/grades"),
                    array(f"{side}/{number}/first_stage"),
                )
                for number, (name, about) in enumerate(facts[side])
            ]

        starts = np.concatenate(([0], np.cumsum(array("lengths"), dtype=np.int64)))
        return PackedInputs(array("tokens"), starts, facts["special"], sets("train"), sets("tune"), facts["recipe"])


def _arrays(inputs: PackedInputs) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "tokens", inputs.tokens
    yield "lengths", inputs.lengths
    for side, parts in (("train", inputs.train), ("tune", inputs.tune)):
        for number, part in enumerate(parts):
            for name in ("queries", "documents", "judged", "grades", "first_stage"):
                yield f"{side}/{number}/{name}", getattr(part, name)
