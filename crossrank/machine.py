"""Machine: usable cores, and the instruction set that an int8 graph is made for."""

import os
import platform
from pathlib import Path


def usable_cores() -> int:
    """Cores for workers: physical ones within the process's affinity, at most its cgroup quota, at least one."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    physical = {_core_id(cpu) for cpu in cpus}
    return max(1, min(len(physical), _cgroup_quota() or len(physical)))


def instruction_set() -> str:
    """The int8 target of this CPU: "avx512_vnni", "avx512", "avx2", "arm64" or "any"."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    flags = cpu_flags()
    for target, needed in (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512bw"), ("avx2", "avx2")):
        if needed in flags:
            return target
    return "any"


def int8_saturates() -> bool:
    """Whether this CPU adds pairs of 8-bit products in 16 bits: x86 without VNNI does."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and not cpu_flags() & {"avx512_vnni", "avx_vnni"}


def cpu_flags() -> frozenset[str]:
    """Flags of the CPU as /proc/cpuinfo names them; empty outside of Linux on x86."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return next((frozenset(line.split()) for line in cpuinfo.splitlines() if line.startswith("flags")), frozenset())


def _core_id(cpu: int) -> tuple[str, ...]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return tuple((topology / name).read_text().strip() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)


def _cgroup_quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
