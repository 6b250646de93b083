"""CPU limits of containers: files as cgroup v1, v2 and both together lay them out."""

from pathlib import Path

import pytest

from crossrank.machine import cgroup_cores, memory_limit


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "300000 100000", "a.slice/b.scope/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "150000 100000"}, 1),
        ("4:memory:/x\n3:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs": "250000 100000"}, 2),
        (
            "3:cpu,cpuacct:/docker/id\n",
            {"cpu,cpuacct/cpu.cfs": "100000 100000"},
            1,
        ),  # bind-mounted, as a container sees it
        ("3:cpuacct,cpu:/\n", {"cpu/cpu.cfs": "100000 100000"}, 1),
        ("3:cpu:/\n", {"cpu/cpu.cfs": "-1 100000"}, None),
        ("1:cpu:/x\n0::/x\n", {"cpu/x/cpu.cfs": "400000 100000", "unified/x/cpu.max": "max 100000"}, 4),
        ("2:cpuset:/x\n", {"cpuset/x/cpu.cfs": "100000 100000"}, None),
        ("0::/gone\n", {}, None),
    ],
)
def test_the_tightest_quota_counts(tmp_path: Path, groups: str, files: dict[str, str], cores: int | None) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "cpu.cfs":
            for suffix, value in zip(("quota", "period"), content.split(), strict=True):
                path.with_name(f"cpu.cfs_{suffix}_us").write_text(value + "\n")
        else:
            path.write_text(content + "\n")
    assert cgroup_cores(proc, root) == cores


def test_no_cgroups(tmp_path: Path) -> None:
    assert cgroup_cores(tmp_path, tmp_path) is None


@pytest.mark.parametrize(
    ("line", "files", "limit"),
    [
        ("0::/a/b", {"a/memory.max": "1000", "a/b/memory.max": "max"}, 1000),
        ("0::/a/b", {"a/memory.max": "1000", "a/b/memory.max": "500"}, 500),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "700"}, 700),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("4:cpu:/a", {"memory/a/memory.limit_in_bytes": "700"}, None),
    ],
)
def test_the_memory_limit_of_all_groups_around(
    tmp_path: Path, line: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cgroup").write_text(line + "\n")
    for name, value in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(value + "\n")
    assert memory_limit(tmp_path / "proc", tmp_path / "root") == limit
