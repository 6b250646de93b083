"""Python source text to (first docstring sentence, code without docstring) pairs, one per usable function."""

import ast
import hashlib
import io
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crossrank.data.mining.docstring_sentence import first_sentence, sentence_problem

MIN_CODE_LINES, MAX_LINES = 3, 200

_Def = ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = (
    *(ast.If, ast.Try, ast.TryStar, ast.ExceptHandler, ast.With),
    *(ast.For, ast.While, ast.Match, ast.match_case),
)

_NO_DOCSTRING = "function: no docstring"
_REPEATED = "function: code repeats its first docstring sentence"
_NOT_SEPARABLE = "function: docstring could not be taken out without changing the code"


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """One function: its name in the module, first docstring sentence, and source without the docstring.

    `fingerprint` is equal for functions whose code differs only in the function's name, comments and layout.
    """

    qualname: str
    sentence: str
    document: str
    fingerprint: str


def usable_functions(source: str, tree: ast.Module) -> tuple[list[PythonFunction], Counter[str]]:
    """Find the functions and methods of a module which make a question and its answer.

    Functions inside functions are part of the outer one's document. Each function which is left out is
    counted under the first reason that applies to it. The recipe, a docstring's first sentence as the query
    for the function it was taken from, is that of CodeSearchNet (Husain et al. 2019, arXiv:1909.09436).
    """
    lines = source.split("\n")
    found: list[PythonFunction] = []
    skipped: Counter[str] = Counter()
    for qualname, node in _definitions(tree, ""):
        result = _usable(qualname, node, lines)
        if isinstance(result, PythonFunction):
            found.append(result)
        else:
            skipped[result] += 1
    return found, skipped


def parse_quietly(source: str) -> ast.Module:
    """Parse without the SyntaxWarnings that somebody else's source may raise.

    Raises:
        SyntaxError: The text is no Python.
        ValueError: It holds what no Python source may, such as a null character.
        RecursionError: It is nested too deeply.
        MemoryError: It is nested far too deeply.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, _Def]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, _Def):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, _BLOCKS):
            yield from _definitions(node, prefix)


def _usable(qualname: str, node: _Def, lines: list[str]) -> PythonFunction | str:
    docstring = ast.get_docstring(node, clean=False)
    reason = next((reason for reason, applies in _CODE_CHECKS if applies(node, lines)), None)
    if reason is not None or docstring is None:
        return reason or _NO_DOCSTRING
    sentence = first_sentence(docstring, node.name)
    reason = sentence_problem(sentence)
    if reason is not None:
        return reason
    document = _document(node, lines)
    if _squeezed(sentence) in _squeezed(document):
        return _REPEATED
    fingerprint = _fingerprint(node, document)
    if fingerprint is None:
        return _NOT_SEPARABLE
    return PythonFunction(qualname, sentence, document, fingerprint)


def _is_test(node: _Def, _: list[str]) -> bool:
    return re.match(r"_*test(?:_|[A-Z0-9]|$)", node.name) is not None


def _is_dunder(node: _Def, _: list[str]) -> bool:
    return node.name.startswith("__") and node.name.endswith("__")


def _is_variant(node: _Def, _: list[str]) -> bool:
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return not names.isdisjoint({"overload", "setter", "deleter"})


def _has_no_docstring(node: _Def, _: list[str]) -> bool:
    return ast.get_docstring(node, clean=False) is None


def _is_trivial(node: _Def, lines: list[str]) -> bool:
    body = node.body[1:]
    if all(_does_nothing_itself(statement) for statement in body):
        return True
    code = [line.strip() for line in lines[body[0].lineno - 1 : node.end_lineno]]
    return sum(bool(line) and not line.startswith("#") for line in code) < MIN_CODE_LINES


def _does_nothing_itself(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Raise() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Return(value=None | ast.Constant()):
            return True
        case ast.Return(value=value) | ast.Expr(value=value):
            call = value.value if isinstance(value, ast.Await) else value
            return ast.unparse(call).startswith("super(") if isinstance(call, ast.Call) else False
    return False


def _is_too_long(node: _Def, _: list[str]) -> bool:
    docstring = node.body[0]
    of_docstring = (docstring.end_lineno or 0) - docstring.lineno + 1
    return (node.end_lineno or 0) - node.lineno + 1 - of_docstring > MAX_LINES


_CODE_CHECKS: tuple[tuple[str, Callable[[_Def, list[str]], bool]], ...] = (
    ("function: is a test", _is_test),
    ("function: is a dunder method", _is_dunder),
    ("function: is an overload, or a property's setter or deleter", _is_variant),
    (_NO_DOCSTRING, _has_no_docstring),
    (
        f"function: body is trivial (under {MIN_CODE_LINES} lines of code, or does nothing itself)",
        _is_trivial,
    ),
    (f"function: longer than {MAX_LINES} lines", _is_too_long),
)


def _squeezed(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _document(node: _Def, lines: list[str]) -> str:
    """Return the function's own lines, decorators first, less the docstring and the outer indentation."""
    first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno) - 1
    docstring = node.body[0]
    assert docstring.end_lineno is not None and docstring.end_col_offset is not None
    # ast counts columns in UTF-8 bytes.
    before = lines[docstring.lineno - 1].encode()[: docstring.col_offset].decode()
    after = lines[docstring.end_lineno - 1].encode()[docstring.end_col_offset :].decode().lstrip(" \t;")
    rest = lines[docstring.end_lineno : node.end_lineno]
    if not (before + after).strip():
        while rest and not rest[0].strip():
            del rest[0]
    else:
        rest.insert(0, before + after)
    indentation = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    return _dedented([*lines[first : docstring.lineno - 1], *rest], indentation)


def _dedented(lines: list[str], indentation: str) -> str:
    text = "\n".join(lines)
    inside_strings = _lines_inside_strings(text)
    return "\n".join(
        line if number in inside_strings else line.removeprefix(indentation)
        for number, line in enumerate(lines, start=1)
    )


def _lines_inside_strings(text: str) -> set[int]:
    """Return the numbers of the lines which begin inside a string, where indentation is content."""
    if not any(mark in text for mark in ('"""', "'''", "\\\n")):
        return set()
    inside: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return set()
    return inside


def _fingerprint(node: _Def, document: str) -> str | None:
    """Return a digest of the document's syntax tree, or None where it is not the function's own tree."""
    try:
        standalone = parse_quietly(document).body
    except (SyntaxError, ValueError):
        return None
    if len(standalone) != 1 or not isinstance(standalone[0], _Def):
        return None
    node.body = node.body[1:]
    standalone[0].name = node.name = "_"
    tree = ast.dump(standalone[0])
    return hashlib.sha256(tree.encode()).hexdigest() if tree == ast.dump(node) else None
