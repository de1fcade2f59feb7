"""The first thing that runs in a submission's process: it shuts the doors, then starts the kernel in its place.

    python confined.py '{"hide": FOLDER, "keep": FOLDER, "memory": BYTES, ...}' python -m ipykernel_launcher -f FILE

With ``"rooms": true`` it finds itself in namespaces of its own (`unshare`): no network but its own loopback, no other
processes to see. It makes every file read-only, lays an empty folder in memory over the one that holds the submissions
and the grades, and works in there. Nothing but the standard library is imported: each submission pays for it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from typing import Any

RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18  # <sys/mount.h>
KEPT_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError."""
    call = ctypes.CDLL(None, use_errno=True).mount
    texts = [part.encode() if part is not None else None for part in (source, target, kind)]
    if call(*texts, ctypes.c_ulong(flags), data.encode() if data is not None else None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def shut(hide: str, keep: str, size: int) -> None:
    """Everything read-only but ``keep`` (where the kernel is spoken to) and ``hide`` (now empty, in memory)."""
    mount(None, "/", None, REC | PRIVATE)
    mount(keep, keep, None, BIND)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    for row in rows:
        place = row[4].encode().decode("unicode_escape")  # blanks are written \040
        if place == keep:
            continue
        flags = sum(KEPT_FLAGS.get(word, 0) for word in row[5].split(","))
        try:
            mount(None, place, None, REMOUNT | BIND | RDONLY | flags)
        except OSError:
            if place == "/":
                raise  # the others lie under it, or are the kernel's own
    for place in ("/dev/shm", hide):
        if os.path.isdir(place):
            mount("none", place, "tmpfs", 2 | 4, f"size={size}")


def loopback() -> None:
    """Switch on 127.0.0.1, which chapters with two processes or a server use; a new network namespace has it off."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING


def limit(memory: int, seconds: int, file_size: int) -> None:
    """Memory that can be written, processor seconds, size of a file: each for one process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in (("DATA", memory), ("CPU", seconds), ("FSIZE", file_size), ("CORE", 0)):
        what = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS refuses some
            continue


def main() -> None:
    """Shut the doors and become the kernel."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    work = given["work"]
    if given["rooms"]:
        shut(given["hide"], given["keep"], given["memory"] // 8)
        loopback()
        work = given["hide"]
    else:
        os.makedirs(work, exist_ok=True)
    folders = {"HOME": "home", "COURSE_HOME": "course", "TMPDIR": "tmp", "MPLCONFIGDIR": "mpl", "IPYTHONDIR": "ipython"}
    for name, folder in folders.items():
        os.environ[name] = os.path.join(work, folder)
        os.makedirs(os.environ[name], exist_ok=True)
    if given["fonts"] and os.path.isdir(given["fonts"]):  # else matplotlib looks for all fonts again, for seconds
        shutil.copytree(given["fonts"], os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    os.environ.pop("JPY_PARENT_PID", None)  # the first process of its namespace has no parent to watch
    os.chdir(os.environ["HOME"])
    limit(given["memory"], given["seconds"], given["memory"] // 4)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
