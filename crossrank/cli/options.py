"""Options of a command from the fields of a pydantic model: names, types, help and defaults are written there alone."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from crossrank.errors import UsageError

_Model = TypeVar("_Model", bound=BaseModel)
_Command = Callable[..., None]


def options_of(model: type[BaseModel]) -> Callable[[_Command], _Command]:
    """Gives a command an option for each field of a model, in the place of its `**given`.

    The command gets the options that were given, by the names of their fields. A field that is a parameter of the
    command already gets no option. A list is a repeatable option in the singular, a dictionary one of NAME=VALUE; the
    fields of a model inside of the model are options like the others.
    """

    def decorate(command: _Command) -> _Command:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        names = {parameter.name for parameter in own}
        fields = {name: field for name, field in _fields(model) if name not in names}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            for name, field in fields.items():
                value = given.pop(name)
                if value is not None:
                    given[name] = _pairs(flag(name, field), value) if _shape(field)[1] is dict else value
            command(**given)

        # What must be given comes first, what the command does with the result last.
        parameters = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        elsewhere = "env_prefix" in model.model_config
        parameters += (_parameter(*named, both=elsewhere) for named in fields.items())
        parameters += (parameter for parameter in own if parameter.default is not inspect.Parameter.empty)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def parse(model: type[_Model], given: dict[str, Any]) -> _Model:
    """The model of the options that were given.

    Raises:
        UsageError: a value that the model refuses; the message begins with its flag, where it is one alone.
    """
    inner = {name: field.annotation for name, field in model.model_fields.items() if _is_model(field.annotation)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        home = next((outer for outer, kind in inner.items() if name in kind.model_fields), None)
        (values.setdefault(home, {}) if home else values)[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        fields = dict(_fields(model))
        wrong = next((str(part) for part in reversed(first["loc"]) if part in fields), None)
        where = f"{flag(wrong, fields[wrong])}: " if wrong else ""
        raise UsageError(f"{where}{first['msg'].removeprefix('Value error, ')}") from None


def flag(name: str, field: FieldInfo) -> str:
    """The option of a field: "--max-documents", and "--ranker" for each of `rankers`; else the field's own "flag"."""
    if isinstance(field.json_schema_extra, dict) and "flag" in field.json_schema_extra:
        return str(field.json_schema_extra["flag"])
    _, container = _shape(field)
    return "--" + (name.removesuffix("s") if container else name).replace("_", "-")


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield from _fields(field.annotation)
        else:
            yield name, field


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _shape(field: FieldInfo) -> tuple[Any, type | None]:
    """The type of one value, and the container of several: list, dict or None."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        parts = [part for part in get_args(kind) if part is not NoneType]
        # Of several types the model tells which one a text is.
        kind = parts[0] if len(parts) == 1 else str
    element: Any
    origin = get_origin(kind)
    if origin is dict:
        return str, dict
    if origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        element = _readable(get_args(kind)[0])
        return element if isinstance(element, type) else str, list
    return _readable(kind), None


def _readable(kind: Any) -> Any:
    """The type where typer can read it; what it cannot is text to it, which the model parses."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind if get_origin(kind) is Literal or kind in (bool, int, float, str, Path) else str


def _parameter(name: str, field: FieldInfo, *, both: bool) -> inspect.Parameter:
    kind, container = _shape(field)
    default = field.get_default(call_default_factory=True)
    shown = (
        "" if default in (PydanticUndefined, None, "", (), {}) or default is False else f" Default: {_text(default)}."
    )
    option = typer.Option(
        # A switch that is off, and that nothing else can set, needs no flag to be off.
        *(() if kind is bool and (both or default is True) else (flag(name, field),)),
        help=f"{field.description}{shown}",
        metavar="NAME=VALUE" if container is dict else None,
        show_default=False,
    )
    annotation: Any = GenericAlias(list, kind) if container else kind
    needed = field.is_required()
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[annotation if needed else annotation | None, option],
    )


def _text(default: Any) -> str:
    if isinstance(default, bool):
        return "yes"
    if isinstance(default, (list, tuple)):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _pairs(option: str, given: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {entry}: not NAME=VALUE; write it like that")
        if name in pairs:
            raise UsageError(f"{option} {name}: given twice; leave one out")
        pairs[name] = value
    return pairs
