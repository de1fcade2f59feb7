"""Files and folders that are whole or not there: written beside their place, flushed to the disk, and renamed.

Whenever the process dies, the name holds what it held before or all of the new content, never half of it. What a killed
process leaves behind has a name of its own, ``.new-<name>.<process>`` or ``.old-<name>.<process>``, and is cleared away
by the next one that writes the same name, once that process is dead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # some network and FUSE file systems; nothing can be done there


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """``with atomic_file(path) as fresh:`` write the file ``fresh``; at the end it takes the place of ``path``.

    The folder is made if it is missing. If the block raises, or the disk refuses (OSError), ``path`` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    fresh = _beside(path, "new")
    try:
        yield fresh
        _flush(fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    _flush(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """``with atomic_folder(path) as fresh:`` fill the folder ``fresh``; at the end it takes the place of ``path``.

    If the block raises, or the disk refuses (OSError), ``path`` is as it was. A folder cannot be replaced by a single
    rename: after a kill between the two that it takes, the old one lies beside its place until :func:`recover`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    fresh, old = _beside(path, "new"), _beside(path, "old")
    try:
        fresh.mkdir()
        yield fresh
        for part in (*fresh.rglob("*"), fresh):
            _flush(part)
        if path.exists():
            os.rename(path, old)
        os.rename(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        recover(path)
        raise
    _flush(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(path: Path) -> None:
    """Finish what a process was doing that was killed while it wrote ``path``.

    If it had set the old folder aside and not yet put the new one in place, the old one comes back; whatever else it
    left is removed. What a living process is writing stays, and so does what belongs to another name.
    """
    for left in list(path.parent.glob(".old-*")):
        # ".old-<name>" without a number: set aside by an earlier version of the course
        if left.name == f".old-{path.name}" or _is_left_over(left, path, "old"):
            if path.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # a folder that may only be read: it stays aside
                    os.rename(left, path)
    for left in list(path.parent.glob(".new-*")):
        if _is_left_over(left, path, "new"):
            remove(left)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there and as far as that is allowed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def process_lives(number: int) -> bool:
    """True if *another* process with this number is alive: what it is writing is no left-over."""
    import psutil  # os.kill(number, 0) would end the process on Windows

    return number != os.getpid() and psutil.pid_exists(number)


def digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{kind}-{path.name}.{os.getpid()}")


def _is_left_over(left: Path, path: Path, kind: str) -> bool:
    """True if ``left`` was made by a dead process for just this path (an earlier version wrote ``-`` for ``.``)."""
    match = re.fullmatch(rf"\.{kind}-{re.escape(path.name)}{'[.-]' if kind == 'new' else '[.]'}(\d+)", left.name)
    return match is not None and not process_lives(int(match[1]))


def _flush(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk.

    A folder's entries are flushed where that can be done: not on Windows, nor on some network file systems, where the
    files themselves are safe all the same.
    """
    if path.is_dir():
        with contextlib.suppress(OSError):
            _fsync(path, os.O_RDONLY)
        return
    try:
        _fsync(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
