"""Examples on disk, as the first step of a training stores them."""

import json
from pathlib import Path

from crossrank.data.examples import Example
from crossrank.train.collect import Collected, collect
from crossrank.train.recipe import Loss, Recipe


def stored(directory: Path, loss: Loss, *parts: tuple[float, list[Example]]) -> Collected:
    """Collects examples from files of lists, one for each weight and its examples."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = []
    for number, (weight, examples) in enumerate(parts):
        path = directory / f"part-{number}.jsonl"
        rows = ({"query": each.query, "documents": each.documents, "labels": each.labels} for each in examples)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append({"path": path, "weight": weight})
    recipe = Recipe.model_validate(
        {"name": "r", "base": "b", "max_length": 32, "data": {"train": sources, "bad_rows": "skip"}}
    )
    return collect(recipe.model_copy(update={"loss": loss}), directory / "collected")
