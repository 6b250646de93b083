"""Where a benchmark runs: machine, versions, revision."""

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
    "fastembed",
    "flashrank",
    "openvino",
)


def this_machine() -> dict[str, Any]:
    """The machine that this process runs on, by the names of `result.Machine`."""
    found = _cpuinfo()
    return {
        "processor": found.get("model name", platform.processor() or "unknown"),
        "instruction_set": instruction_set(),
        "flags": found.get("flags", "").split(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.release()}, {os.cpu_count()} logical processors",
    }


def tools() -> dict[str, str]:
    """Versions of what is installed."""
    found = {"python": platform.python_version()}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def revision() -> str:
    """Git's name for what is checked out here; empty where that is nothing."""
    try:
        told = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip()


def _cpuinfo() -> dict[str, str]:
    """What the system says of its first processor; empty where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
