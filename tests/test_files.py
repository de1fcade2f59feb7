"""Files and folders are whole or not there, whenever the process dies and whatever the disk refuses."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from course_utils import files
from course_utils.files import atomic_file, atomic_folder, digest, process_lives, recover

OLD, NEW = {"a": "old", "b/c": "old too"}, {"a": "new", "b/c": "new too", "d": ""}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write_folder(folder: Path, texts: dict[str, str]) -> None:
    with atomic_folder(folder) as fresh:
        for name, text in texts.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_text(text)


def write_file(path: Path, text: str) -> None:
    with atomic_file(path) as fresh:
        fresh.write_text(text)


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def refuse(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[int], bool], code: int) -> list[int]:
    """fsync fails with ``code`` for handles that are ``wanted``; all that were asked for are listed."""
    real, seen = os.fsync, []

    def fsync(handle: int) -> None:
        seen.append(os.fstat(handle).st_mode)
        if wanted(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


# --- written ---------------------------------------------------------------------------------------------------------


def test_new_content_takes_the_place_of_the_old(tmp_path, monkeypatch):
    seen = refuse(monkeypatch, lambda mode: False, 0)
    write_file(tmp_path / "made" / "x.json", "old")
    write_file(tmp_path / "made" / "x.json", "new")
    assert (tmp_path / "made" / "x.json").read_text() == "new"
    assert [stat.S_ISDIR(mode) for mode in seen] == [False, True] * 2, "the content first, then the name"
    write_folder(tmp_path / "made" / "model", OLD)
    write_folder(tmp_path / "made" / "model", NEW)
    assert content(tmp_path / "made" / "model") == NEW
    assert names(tmp_path / "made") == ["model", "x.json"]


def test_a_block_that_raises_changes_nothing(tmp_path, monkeypatch):
    write_file(tmp_path / "x", "old")
    write_folder(tmp_path / "model", OLD)

    def interrupted(path: Path, text: str) -> None:
        path.write_bytes(text[:2].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "x", "new")
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "model", NEW)
    assert ((tmp_path / "x").read_text(), content(tmp_path / "model")) == ("old", OLD)
    assert names(tmp_path) == ["model", "x"]


def test_a_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_loses_content_is_told_and_the_old_stays(tmp_path, monkeypatch, code):
    write_file(tmp_path / "x", "old")
    write_folder(tmp_path / "model", OLD)
    refuse(monkeypatch, stat.S_ISREG, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_file(tmp_path / "x", "new")
    with pytest.raises(OSError, match=os.strerror(code)):
        write_folder(tmp_path / "model", NEW)
    assert ((tmp_path / "x").read_text(), content(tmp_path / "model")) == ("old", OLD)
    assert names(tmp_path) == ["model", "x"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, number):
    write_folder(tmp_path / "model", OLD)
    real, calls = os.rename, []

    def rename(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "model", NEW)
    assert content(tmp_path / "model") == OLD and names(tmp_path) == ["model"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES, errno.ENOTSUP, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_no_obstacle(tmp_path, monkeypatch, code):
    """Samba, FUSE and WSL: the files are synced, their names as well as that file system can."""
    seen = refuse(monkeypatch, stat.S_ISDIR, code)
    write_file(tmp_path / "x", "new")
    write_folder(tmp_path / "model", NEW)
    assert ((tmp_path / "x").read_text(), content(tmp_path / "model")) == ("new", NEW)
    assert sum(stat.S_ISREG(mode) for mode in seen) == 1 + len(NEW)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_knows_no_sync_is_no_obstacle(tmp_path, monkeypatch, code):
    refuse(monkeypatch, lambda mode: True, code)
    write_file(tmp_path / "x", "new")
    write_folder(tmp_path / "model", NEW)
    assert ((tmp_path / "x").read_text(), content(tmp_path / "model")) == ("new", NEW)


# --- killed ----------------------------------------------------------------------------------------------------------


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Run ``work`` in a forked child that dies by SIGKILL just before its ``number``-th call of the system."""
    child = os.fork()
    if child == 0:
        count = 0

        def deadly(operation: Callable) -> Callable:
            def run_or_die(*arguments: object, **options: object) -> object:
                nonlocal count
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return operation(*arguments, **options)

            return run_or_die

        for module, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
            setattr(module, name, deadly(getattr(module, name)))
        for name in ("mkdir", "write_text", "unlink"):
            setattr(Path, name, deadly(getattr(Path, name)))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_kill_leaves_the_old_or_the_new_and_the_next_writer_tidies_up(tmp_path):
    number, seen = 0, set()
    while True:
        home = tmp_path / str(number)
        write_file(home / "x", "old")
        write_folder(home / "model", OLD)

        def work(home: Path = home) -> None:
            write_file(home / "x", "new")
            write_folder(home / "model", NEW)

        if not killed_at(number, work):
            break
        recover(home / "model")
        text, texts = (home / "x").read_text(), content(home / "model")
        assert text in ("old", "new") and texts in (OLD, NEW)
        seen.add((text, texts == NEW))
        work()
        assert names(home) == ["model", "x"] and content(home / "model") == NEW
        number += 1
    assert number >= 15 and len(seen) == 3, "the kills must strike at different places"


def test_only_what_a_dead_process_left_of_the_same_name_goes(tmp_path, dead):
    living = os.getppid()
    stay = [f".new-model.{living}", f".old-model.{living}", f".new-model-2.{dead}", f".old-model-2.{dead}", "model-2"]
    stay += [f".new-model.{dead}.txt", "model"]
    for name in (*stay, f".new-model.{dead}", f".old-model.{dead}", f".new-model-{dead}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    recover(tmp_path / "model")
    assert names(tmp_path) == sorted(stay)
    assert content(tmp_path / "model") == {"a": "model"}
    write_folder(tmp_path / "model", NEW)
    assert names(tmp_path) == sorted(stay)


def test_what_a_dead_process_set_aside_comes_back(tmp_path, dead):
    write_folder(tmp_path / "model", OLD)
    os.rename(tmp_path / "model", tmp_path / f".old-model.{os.getppid()}")
    recover(tmp_path / "model")
    assert not (tmp_path / "model").exists(), "a living process is about to put the new one there"
    os.rename(tmp_path / f".old-model.{os.getppid()}", tmp_path / f".old-model.{dead}")
    recover(tmp_path / "model")
    assert content(tmp_path / "model") == OLD and names(tmp_path) == ["model"]


def test_which_processes_live(dead):
    assert process_lives(os.getppid())
    assert not process_lives(dead)
    assert not process_lives(os.getpid()), "what this one left under its own number is from an earlier one"


def test_the_course_has_one_atomic_writer():
    """Nobody else renames a fresh file over an old one."""
    package = Path(files.__file__).parent
    renames = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if "os.replace(" in p.read_text()}
    assert renames - {"files.py", "classroom/records/ratings.py"} == set(), "ratings.py sets a spoiled file aside"
