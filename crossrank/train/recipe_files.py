"""Recipes as TOML files: reading, overriding single keys, and explaining them all."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from crossrank.data.formats.text import read_toml
from crossrank.errors import UsageError
from crossrank.paths import from_home
from crossrank.train.recipe import Recipe
from crossrank.train.recipe_data import Data, Source


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: a TOML file.
        overrides: "key=value" with dotted keys and TOML values; paths in them start at the working directory. No
            value at all ("data.dev=") takes the key away.

    Raises:
        UsageError: no such file, no TOML, an unknown key (the nearest known one is named), a value out of range.
    """
    try:
        table = read_toml(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    data = table.setdefault("data", {})
    if isinstance(data, dict):
        data["root"] = str(path.resolve().parent / from_home(str(data.get("root", ""))))
    for override in overrides:
        _apply(table, override)
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {_sentence(error)}") from None
    cache = recipe.distillation.cache and from_home(recipe.distillation.cache)
    return recipe.model_copy(
        update={
            "data": _absolute(recipe.data),
            "distillation": recipe.distillation.model_copy(update={"cache": cache}),
        }
    )


def explain() -> list[tuple[str, str, str]]:
    """Every key of a recipe with its default ("required" where it has none) and its meaning."""
    return [
        (key, "required" if default is PydanticUndefined else _shown(default), meaning)
        for key, default, meaning in _keys(Recipe, "")
    ]


def _absolute(data: Data) -> Data:
    root = from_home(data.root or Path())

    def place(given: Path) -> Path:
        return (root / from_home(given)).resolve()

    def at(given: Path | None) -> Path | None:
        return None if given is None else place(given)

    train = tuple(
        source.model_copy(
            update={
                "path": at(source.path),
                "run": at(source.run),
                "corpus": at(source.corpus),
                "corpora": tuple(map(place, source.corpora)),
                # An id has no file of its own; a directory of save_to_disk does.
                "dataset": str(place(Path(source.dataset)))
                if source.dataset and place(Path(source.dataset)).is_dir()
                else source.dataset,
            }
        )
        for source in data.train
    )
    regression_sets = tuple(map(place, data.regression_sets))
    return data.model_copy(update={"train": train, "dev": at(data.dev), "regression_sets": regression_sets})


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override}: write it as key=value")
    value: Any
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word or a path needs no quotes
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {override}: {parent} is not a table")
    if not text:
        table.pop(last, None)
        return
    if parents == ["data"] and last in ("root", "train", "dev") and isinstance(value, str):
        value = str(from_home(value).resolve())
    if parents == ["data"] and last == "regression_sets":
        value = [str(from_home(str(path)).resolve()) for path in (value if isinstance(value, list) else [value])]
    table[last] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}".removeprefix(": ")
    plain = ".".join(part for part in first["loc"] if isinstance(part, str))
    nearest = difflib.get_close_matches(plain, [key for key, _, _ in _keys(Recipe, "")], n=1, cutoff=0.0)[0]
    return f"{where} is not a key of a recipe; the nearest is {nearest}"


def _keys(table: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, field in table.model_fields.items():
        inner = next((part for part in (field.annotation, *get_args(field.annotation)) if _is_table(part)), None)
        if inner is None or inner is Source or field.description:
            yield prefix + name, field.default, field.description or ""
        if inner is not None:
            yield from _keys(inner, f"{prefix}{name}.")


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _shown(default: Any) -> str:
    if isinstance(default, BaseModel):
        return "the table's own"
    if default is None or default in ((), {}):
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
