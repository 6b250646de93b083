"""Real text that is always at hand: the functions of Python's own standard library, with what they are for."""

import importlib
import inspect
from types import ModuleType

# Present in every supported Python, importable without side effects, with prose of different lengths.
_MODULES = ("argparse", "csv", "difflib", "heapq", "pathlib", "shutil", "statistics", "textwrap", "zipfile")


def standard_library_functions() -> list[tuple[str, str]]:
    """(first line of the docstring, source) of functions of Python's standard library, in a fixed order."""
    return [pair for name in _MODULES for pair in _functions(importlib.import_module(name))]


def _functions(module: ModuleType) -> list[tuple[str, str]]:
    """(first line of the docstring, source) of a module's documented functions and methods."""
    classes = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    found: dict[str, tuple[str, str]] = {}
    for owner in (module, *classes):
        for _, function in inspect.getmembers(owner, inspect.isfunction):
            doc = inspect.getdoc(function)
            if doc and function.__module__ == module.__name__:
                found.setdefault(function.__qualname__, (doc.splitlines()[0], inspect.getsource(function)))
    return [found[name] for name in sorted(found)]
