"""Environment of a benchmark: machine, versions, revision."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from crossrank.machine import instruction_set, usable_cores

_TOOLS = (
    "crossrank",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "sentence-transformers",
    "grpcio",
    "aiohttp",
)


def this_machine() -> dict[str, Any]:
    """The machine that this process runs on, by the names of `crossrank.bench.results.Machine`."""
    found = _cpuinfo()
    return {
        "processor": found.get("model name", platform.processor() or "unknown"),
        "instruction_set": instruction_set(),
        "flags": found.get("flags", "").split(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.release()}, {os.cpu_count()} logical processors",
    }


def tools(*further: str) -> dict[str, str]:
    """Versions of the usual tools and of further ones, as far as they are installed."""
    found = {"python": platform.python_version()}
    for tool in (*_TOOLS, *further):
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def revision() -> str:
    """Git's name for the revision that is checked out here; empty outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()


def _cpuinfo() -> dict[str, str]:
    """The system's description of its first processor; empty where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
