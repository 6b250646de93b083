import shutil
from pathlib import Path

import pytest

from crossrank.atomic import recover, replace_directory
from crossrank.errors import UsageError


def make(target: Path, text: str, *, force: bool = False) -> None:
    with replace_directory(target, force=force) as directory:
        (directory / "file").write_text(text)


def test_a_new_directory_appears_whole(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "out", "new")
    assert (tmp_path / "deep" / "out" / "file").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_existing_one_is_replaced_only_by_force(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(UsageError, match="--force"):
        make(tmp_path / "out", "new")
    assert (tmp_path / "out" / "file").read_text() == "old"
    make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), replace_directory(tmp_path / "out", force=True) as directory:
        (directory / "file").write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_swap_is_undone_and_a_backup_of_the_user_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "out.old", "backup")
    make(tmp_path / ".out.crossrank-old", "old")
    recover(tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "old"
    recover(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.old"]


def test_who_opens_the_name_while_it_is_replaced_finds_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "out", "old")
    rename = Path.rename
    found: list[str] = []

    def rename_and_open(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if target.name == ".out.crossrank-old" and not found:
            recover(tmp_path / "out")
            found.append((tmp_path / "out" / "file").read_text())
        return moved

    monkeypatch.setattr(Path, "rename", rename_and_open)
    make(tmp_path / "out", "new", force=True)
    assert found == ["old"]
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_came_meanwhile_is_not_replaced_without_force(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot move the result"), replace_directory(tmp_path / "out"):
        make(tmp_path / "out", "meanwhile")
    assert (tmp_path / "out" / "file").read_text() == "meanwhile"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_working_directory_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recover(Path())
    with pytest.raises(UsageError, match="--force"):
        make(Path(), "new")


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a directory"):
        make(tmp_path / "file", "new", force=True)
    with pytest.raises(UsageError, match="cannot write to"):
        make(tmp_path / "file" / "out", "new")


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path: Path) -> None:
    (tmp_path / ".out.crossrank-new-killed").mkdir()
    (tmp_path / ".out.backup").mkdir()
    with replace_directory(tmp_path / "out") as directory:
        assert not (tmp_path / ".out.crossrank-new-killed").exists()
        make(tmp_path / "out", "meanwhile")
        assert directory.is_dir()
        shutil.rmtree(tmp_path / "out")
        (directory / "file").write_text("new")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.backup", "out"]
