"""Machine: usable cores, the memory limit, and the instruction set that an int8 graph is made for."""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path


def usable_cores() -> int:
    """Cores for workers: physical ones within the process's affinity, at most its cgroup quota, at least one."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    physical = {_core_id(cpu) for cpu in cpus}
    return max(1, min(len(physical), cgroup_cores() or len(physical)))


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


def cgroup_cores(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The smallest CPU quota of the process's cgroups in whole cores, at least one; None where there is none.

    A group is bound by its own quota and by those of all groups around it, in version 1 and in version 2.

    Args:
        proc: the directory of the process.
        root: where the hierarchies are mounted.
    """
    quotas = [quota for group in _groups("cpu", proc, root) if (quota := _quota(group)) is not None]
    return max(1, math.floor(min(quotas))) if quotas else None


def memory_limit(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The smallest memory limit of the process's cgroups in bytes; None where there is none.

    Args:
        proc: the directory of the process.
        root: where the hierarchies are mounted.
    """
    limits = [limit for group in _groups("memory", proc, root) if (limit := _limit(group)) is not None]
    return min(limits) if limits else None


def cgroup_version(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The version of the cgroups that are mounted, 1 or 2; None where there are none."""
    if (root / "cgroup.controllers").exists():
        return 2
    return 1 if (root / "cpu").exists() or (root / "memory").exists() else None


def _groups(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """Where the limits of a controller stand for the process: its group and all around it."""
    try:
        lines = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has no controllers in its line. In a container the group may be the root of what is mounted.
        mounts = [root / controllers, root / controller] if controllers else [root, root / "unified"]
        inside = [Path(group.lstrip("/")), *Path(group.lstrip("/")).parents]
        yield from (mount / part for mount in mounts for part in inside)


def _limit(group: Path) -> int | None:
    """Bytes that one group may use; None where it sets no limit or does not exist."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            limit = (group / name).read_text(encoding="utf-8").strip()
            # Version 1 says "none" by the largest number of pages.
            return int(limit) if limit != "max" and int(limit) < 1 << 60 else None
        except (OSError, ValueError):
            continue
    return None


def _quota(group: Path) -> float | None:
    """Cores that one group may use; None where it sets no limit or does not exist."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text(encoding="utf-8") for name in names).split()
            return float(quota) / float(period) if quota not in ("max", "-1") else None
        except (OSError, ValueError):
            continue
    return None
