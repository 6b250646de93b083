from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from crossrank.bench.options import CapacityOptions, LoadOptions, QualityOptions
from crossrank.cli.app import load
from crossrank.cli.commands.rank import RankCommandOptions
from crossrank.cli.options import flag, options_of, parse
from crossrank.errors import UsageError
from crossrank.evaluation.options import EvaluationOptions
from crossrank.export.options import ExportOptions
from crossrank.feedback.options import LabelOptions
from crossrank.inference.ranker.manifest import Budget
from crossrank.serve.load_settings import load_settings
from crossrank.serve.settings import ServerSettings
from crossrank.train.options import TrainOptions
from tests.serve.test_settings import OTHER


class Limits(BaseModel):
    max_drop: float | None = Field(0.5, ge=0, description="Largest drop.")


class Options(BaseModel):
    names: tuple[str, ...] = Field(("a", "b"), description="Names.")
    weights: dict[str, str] = Field(default_factory=dict, description="Weights.")
    kind: Literal["x", "y"] = Field("x", description="Kind.")
    where: Path | None = Field(None, description="Place. Default: none.")
    count: int = Field(0, ge=0, description="How many.")
    quick: bool = Field(True, description="Whether to hurry.")
    loud: bool = Field(False, description="Whether to shout.")
    keys: tuple[str, ...] = Field((), description="Keys.", json_schema_extra={"flag": "--set"})
    limits: Limits = Field(default_factory=Limits, description="Limits.")


def run(*arguments: str) -> tuple[str, dict[str, Any]]:
    """What a command with `Options` prints and is given."""
    got: dict[str, Any] = {}

    @options_of(Options)
    def command(target: str, **given: Any) -> None:
        got.update(given, target=target)

    app = typer.Typer()
    app.command()(command)
    outcome = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.output, got


def test_a_command_is_given_what_was_given() -> None:
    assert run("t")[1] == {"target": "t"}
    given = run(
        "t", "--name", "c", "--name", "d", "--weight", "a=1=2", "--kind", "y", "--where", "p", "--count", "3",
        "--no-quick", "--loud", "--set", "k=1", "--set", "l=2", "--max-drop", "0.25",
    )[1]  # fmt: skip
    assert given.pop("target") == "t"
    options = parse(Options, given)
    assert options == Options(
        names=("c", "d"),
        weights={"a": "1=2"},
        kind="y",
        where=Path("p"),
        count=3,
        quick=False,
        loud=True,
        keys=("k=1", "l=2"),
        limits=Limits(max_drop=0.25),
    )
    assert parse(Options, {}) == Options()


def test_a_switch_can_be_turned_off_only_where_something_else_turns_it_on() -> None:
    assert "--no-quick" in run("--help")[0]
    assert "--no-loud" not in run("--help")[0]
    texts = next(parameter for parameter in load("serve").params if parameter.name == "feedback_texts")
    assert texts.secondary_opts == ["--no-feedback-texts"]


def test_what_a_model_needs_its_command_needs() -> None:
    needed = {parameter.name for parameter in load("bench").commands["capacity"].params if parameter.required}
    assert needed == {"ranker", "rate", "slo"}


def test_what_is_wrong_with_several_options_is_said_of_none() -> None:
    with pytest.raises(UsageError, match=r"^--ranker is for this process"):
        parse(RankCommandOptions, {"ranker": "a", "target": "b"})
    with pytest.raises(UsageError, match=r"^--share: nothing is prepared"):
        parse(TrainOptions, {"share": 0.5})


@pytest.mark.parametrize("wrong", ["a", "a=", "=b"])
def test_a_pair_without_name_or_value_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=f"^--weight {wrong}: "):
        run("t", "--weight", wrong)


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--weight a: "):
        run("t", "--weight", "a=1", "--weight", "a=2")


@pytest.mark.parametrize(("given", "option"), [({"count": -1}, "--count"), ({"max_drop": -1.0}, "--max-drop")])
def test_what_the_model_refuses_is_named_by_its_flag(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"^{option}: "):
        parse(Options, given)


MODELS: dict[str, type[BaseModel]] = {
    "serve": ServerSettings,
    "export-onnx": ExportOptions,
    "train": TrainOptions,
    "evaluate": EvaluationOptions,
    "rank": RankCommandOptions,
    "feedback export": LabelOptions,
    "bench load": LoadOptions,
    "bench quality": QualityOptions,
    "bench capacity": CapacityOptions,
}
FIELDS = [(command, name, field) for command, model in MODELS.items() for name, field in model.model_fields.items()]
FIELDS += [("export-onnx", name, field) for name, field in Budget.model_fields.items()]


@pytest.mark.parametrize(
    ("command", "name", "field"),
    [each for each in FIELDS if each[1] != "budget"],
)
def test_a_command_has_an_option_for_every_field_with_its_help_and_default(
    command: str, name: str, field: FieldInfo
) -> None:
    group, *sub = command.split()
    parameters = load(group).commands[sub[0]].params if sub else load(group).params
    parameter = next(parameter for parameter in parameters if parameter.name == name)
    default = field.get_default(call_default_factory=True)
    assert field.description
    assert parameter.help.startswith(field.description)
    assert parameter.required == field.is_required() or name == "target"
    if parameter.param_type_name == "argument" or (name == "variants" and command == "export-onnx"):
        return
    assert parameter.default is None
    assert flag(name, field) in parameter.opts
    if default in (PydanticUndefined, None, False, "", (), {}) and type(default) not in (int, float):
        assert parameter.help == field.description
    else:
        shown = "yes" if default is True else f"{default:g}" if isinstance(default, float) else default
        assert parameter.help == f"{field.description} Default: {shown if isinstance(shown, str | int) else shown[0]}."


def test_flags_set_every_setting() -> None:
    got: dict[str, Any] = {}

    @options_of(ServerSettings)
    def command(ranker: str, **given: Any) -> None:
        got.update(given, ranker=ranker)

    app = typer.Typer()
    app.command()(command)
    arguments = [OTHER["ranker"]]
    for name, value in OTHER.items():
        if name == "ranker":
            continue
        option = flag(name, ServerSettings.model_fields[name])
        if value is True:
            arguments.append(option)
        else:
            shown = "other=there" if isinstance(value, dict) else str(value[0] if isinstance(value, tuple) else value)
            arguments += [option, shown]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert load_settings(got) == ServerSettings(**OTHER)


def test_export_onnx_names_the_flag_that_is_out_of_range(tmp_path: Path) -> None:
    arguments = ["model", "--out", str(tmp_path / "out"), "--min-top1-agreement", "2"]
    with pytest.raises(UsageError, match=r"^--min-top1-agreement: "):
        load("export-onnx")(arguments, standalone_mode=False)
