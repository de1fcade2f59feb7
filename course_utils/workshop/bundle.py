"""The course on a stick: notebooks, models, packages as wheels, a checksum of each; installed without a network.

The wheels come from a machine with a network, one folder for each system, by pip's own ``wheel`` and ``download``
(docs/instructors.md). The bundle's ``install.py`` needs nothing but Python: it compares every file with its checksum,
names the ones that differ, and installs from the folder alone.
"""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from course_utils import files

SUMS = "SHA256SUMS"
PARTS = (
    "course_utils", "notebooks", "solutions", "jupyter", "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
    "LICENSE-TEXT", "Makefile",
)  # fmt: skip
SYSTEMS = {"Linux": r"linux", "macOS": r"macosx", "Windows": r"win"}
# What a requirement's marker finds on each of them; processors as most laptops have them.
MARKERS = {
    "Linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macOS": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


class BundleError(ValueError):
    """A bundle that cannot be made or trusted; the message names the file and how to mend it."""


@dataclass(frozen=True)
class Bundle:
    """What was written. lacking: system -> packages that the course, or one of its packages, needs and that have no
    wheel for it."""

    folder: Path
    wheels: int
    size: int
    systems: tuple[str, ...]
    lacking: dict[str, tuple[str, ...]]


def write_bundle(folder: Path, wheels: Sequence[Path], root: Path, extras: Sequence[str] = ("chapters",)) -> Bundle:
    """Write the bundle of the course in ``root`` with the wheels of some folders. The folder must be new or empty.

    Raises BundleError for a wheel that is none, a package without a wheel on any system, or a folder in use.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise BundleError(f"{folder} is not empty; name a new folder, so that nothing of yours is overwritten.")
    found = _wheels(wheels)
    systems, lacking = _systems(found, _needed(root / "pyproject.toml", extras))
    if not systems:
        absent = sorted({name for names in lacking.values() for name in names})
        raise BundleError(
            f"no system has all packages: missing are {', '.join(absent)}. On a machine like the learners': python -m "
            f'pip wheel -w wheels -c constraints.txt ".[{",".join(extras)}]" "setuptools>=77"'
        )
    with files.atomic_folder(folder) as fresh:
        (fresh / "wheels").mkdir()
        for wheel in found:
            shutil.copy2(wheel, fresh / "wheels" / wheel.name)
        for part in PARTS:
            source = root / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "kept", "*.egg-info")
                shutil.copytree(source, fresh / "course" / part, ignore=ignore)
            elif source.is_file():
                (fresh / "course").mkdir(exist_ok=True)
                shutil.copy2(source, fresh / "course" / part)
        (fresh / "install.py").write_text(_INSTALL.replace("@EXTRAS@", ",".join(extras)), encoding="utf-8")
        lines = [f"{files.digest(path)}  {path.relative_to(fresh).as_posix()}\n" for path in _all_files(fresh)]
        (fresh / SUMS).write_text("".join(lines), encoding="utf-8")
    size = sum(path.stat().st_size for path in _all_files(folder))
    return Bundle(folder, len(found), size, systems, {name: lacking[name] for name in SYSTEMS if lacking[name]})


def check(folder: Path) -> int:
    """Compare every file with its checksum; returns how many there are. Raises BundleError naming those that differ."""
    folder = Path(folder)
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BundleError(
            f"{folder} is no bundle: {SUMS} cannot be read ({error.strerror}). Copy it once more."
        ) from error
    wrong = []
    for line in lines:
        wanted, _, name = line.partition("  ")
        path = folder / name
        if not re.fullmatch(r"[0-9a-f]{64}", wanted) or not name or not path.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{SUMS} has a line that is none: {line[:120]!r}")
        elif not path.is_file():
            wrong.append(f"{name} is missing")
        elif files.digest(path) != wanted:
            wrong.append(f"{name} is not what was bundled ({path.stat().st_size:,} bytes)")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BundleError(f"{'; '.join(wrong[:5])}{more}. Copy the bundle once more from where it came.")
    return len(lines)


def _all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _wheels(folders: Iterable[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        inside = sorted(Path(folder).glob("*.whl"))
        if not inside:
            raise BundleError(f"{folder} holds no wheel (*.whl): give the folder that `pip wheel -w` wrote.")
        if sources := sorted(str(path) for path in Path(folder).iterdir() if path.name.endswith((".tar.gz", ".zip"))):
            raise BundleError(
                f"sources, not wheels, which learners would have to build: {', '.join(sources)}. Make wheels of them, "
                f"and remove them: python -m pip wheel --no-deps -w {folder} {' '.join(sources)}"
            )
        for wheel in inside:
            try:
                with zipfile.ZipFile(wheel) as archive:
                    whole = archive.testzip() is None and any(
                        name.endswith(".dist-info/METADATA") for name in archive.namelist()
                    )
            except (zipfile.BadZipFile, OSError):
                whole = False
            if not whole:
                raise BundleError(f"{wheel} is no whole wheel: download it once more.")
            found[wheel.name] = wheel
    return list(found.values())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(project: Path, extras: Sequence[str]) -> list[str]:
    """What the course itself asks for, and what builds it, as requirements."""
    read = tomllib.loads(project.read_text(encoding="utf-8"))
    about = read["project"]
    lines = [*about.get("dependencies", ()), *read.get("build-system", {}).get("requires", ())]
    for extra in extras:
        lines += about.get("optional-dependencies", {}).get(extra, ())
    return lines


def _asks(wheel: Path) -> list[str]:
    """The requirements that a wheel states."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


def _systems(wheels: list[Path], needed: list[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The systems with a wheel of every package that ``needed`` leads to, and what the others lack."""
    from packaging.requirements import Requirement

    there: dict[str, dict[str, Path]] = {name: {} for name in SYSTEMS}
    for wheel in wheels:
        name, platform = wheel.name.split("-")[0], wheel.stem.split("-")[-1]
        for system, pattern in SYSTEMS.items():
            if platform == "any" or re.match(rf"(?:many|musl)?{pattern}", platform):
                there[system][_plain(name)] = wheel
    lacking = {}
    for system, found in there.items():
        absent, seen = set(), set()
        waiting = [(line, "") for line in needed]
        while waiting:
            line, extra = waiting.pop()
            asked = Requirement(line)
            if asked.marker and not asked.marker.evaluate({**MARKERS[system], "extra": extra}):
                continue
            name = _plain(asked.name)
            if name not in found:
                absent.add(name)
                continue
            for wanted in ("", *sorted(asked.extras)):
                if (name, wanted) not in seen:
                    seen.add((name, wanted))
                    waiting += [(more, wanted) for more in _asks(found[name])]
        lacking[system] = tuple(sorted(absent))
    return tuple(system for system, names in lacking.items() if not names), lacking


_INSTALL = '''"""Install the course from this folder, without a network: python install.py [a folder for it]"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def broken():
    """Files that differ from their checksum."""
    for line in (HERE / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        path = HERE / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        found = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
        if found.hexdigest() != wanted:
            yield f"{name} is not what was bundled"


def main():
    if sys.version_info < (3, 11):
        sys.exit("Python 3.11 or later is needed; this is " + sys.version.split()[0])
    if wrong := list(broken()):
        sys.exit("\\n".join(["Nothing was installed:", *wrong, "Copy the bundle once more from where it came."]))
    where = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "course" / ".venv").absolute()
    venv.create(where, with_pip=True)
    python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # as an address: pip takes a blank in a path for the end of it
    alone |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (HERE / "wheels").as_uri(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    course = HERE / "course"
    command = [python, "-m", "pip", "install", "-q", "-c", course / "constraints.txt", "-e", f"{course}[@EXTRAS@]"]
    if subprocess.run([str(part) for part in command], env=alone).returncode:
        sys.exit("pip could not install from the wheels: see above. Was the bundle made for this system and Python?")
    first, settings = course / "notebooks" / "00_start_here.ipynb", course / "jupyter" / "jupyter_lab_config.py"
    print(f"Installed. Begin with: {python.parent / 'jupyter'} lab --config {settings} {first}")


if __name__ == "__main__":
    main()
'''
