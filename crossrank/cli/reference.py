"""Reference pages in Markdown, from the models and commands themselves: `python -m crossrank.cli.reference DIR`."""

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from crossrank.cli.app import COMMANDS, load
from crossrank.cli.options import flag
from crossrank.serve.settings import RankerSettings, ServerSettings
from crossrank.train.recipe import Recipe

_TYPES = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "items: at least"}
_SETTINGS = """\
A flag beats the environment, the environment beats the file of `--config` (or `CROSSRANK_CONFIG`), and the file beats \
the default. The rankers of all three add up; of two with one name the stronger source's is taken."""


def pages() -> dict[str, str]:
    """Markdown of each page, by the name of its file."""
    return {"commands.md": _commands(), "settings.md": _settings(), "recipe.md": _recipe()}


def _commands() -> str:
    parts = ["# Commands"]
    for name in COMMANDS:
        group = load(name)
        for sub, command in getattr(group, "commands", {"": group}).items():
            # Arguments first; within both kinds the order stays.
            parameters = sorted(command.params, key=lambda parameter: parameter.param_type_name != "argument")
            rows = [(_name_of(parameter), _meaning_of(parameter)) for parameter in parameters]
            parts += [f"## `crossrank {name} {sub}".rstrip() + "`", inspect.cleandoc(command.help)]
            parts.append(_table(("argument or option", "meaning"), rows))
    return _page(parts)


def _name_of(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = f" `{parameter.metavar}`" if parameter.metavar else ""
    return ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts)) + value


def _meaning_of(parameter: Any) -> str:
    """Its help, with the default where that does not say it already."""
    default = parameter.default
    if parameter.required:
        return f"{parameter.help} Required."
    if default is None or default is False or default == "" or not parameter.show_default:
        return str(parameter.help)
    return f"{parameter.help} Default: {'yes' if default is True else default}."


def _settings() -> str:
    rows = []
    for name, field in ServerSettings.model_fields.items():
        option = "`RANKER`" if name == "ranker" else f"`{flag(name, field)}`"
        rows.append((option, f"`CROSSRANK_{name.upper()}`", f"`{name}`", *_described(field)))
    columns = ("flag", "environment", "file", "type", "default", "meaning")
    ranker = [(f"`{name}`", *_described(field)) for name, field in RankerSettings.model_fields.items()]
    return _page(
        [
            "# Settings of `crossrank serve`",
            _SETTINGS,
            _table(columns, rows),
            "## `[rankers.NAME]`",
            _docstring(RankerSettings),
            _table(("key", "type", "default", "meaning"), ranker),
        ]
    )


def _recipe() -> str:
    parts = ["# Recipe"]
    for name, model in _tables(Recipe, "", set()):
        rows = [
            (f"`{key}`", *_described(field))
            for key, field in model.model_fields.items()
            if field.description or not _model_in(field.annotation)
        ]
        parts += [f"## `[{name}]`"] if name else []
        parts += [_docstring(model), _table(("key", "type", "default", "meaning"), rows)]
    return _page(parts)


def _tables(model: type[BaseModel], name: str, seen: set[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and those inside of it, by their keys; each once."""
    seen.add(model)
    yield name, model
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None and inner not in seen:
            yield from _tables(inner, f"{name}.{key}".lstrip("."), seen)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _described(field: FieldInfo) -> tuple[str, str, str]:
    """Type with bounds, default and meaning."""
    bounds = [
        f"{words} {getattr(entry, bound):g}"
        for entry in field.metadata
        for bound, words in _BOUNDS.items()
        if hasattr(entry, bound)
    ]
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        shown = "required"
    elif default in (None, (), {}) or isinstance(default, BaseModel):
        # Where something else takes its place, the meaning says so.
        shown = "" if "Default:" in (field.description or "") or _model_in(field.annotation) else "none"
    else:
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return ", ".join([_type(field.annotation), *bounds]), shown, field.description or ""


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is dict or _model_in(annotation):
        return "table"
    return _TYPES[annotation]


def _docstring(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(parts: Iterable[str]) -> str:
    notice = "<!-- Written by `make reference`; edit the descriptions in the code. -->"
    return "\n\n".join([notice, *parts]) + "\n"


def main(directory: Path) -> None:
    """Writes the pages into a directory."""
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
