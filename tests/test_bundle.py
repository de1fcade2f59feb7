"""The course on a stick: checksums, what is missing, and an installation without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from course_utils import chapters, cli
from course_utils.workshop import bundle, isolated
from course_utils.workshop.bundle import BundleError, check, write_bundle

PROJECT = """\
[project]
name = "llm-course"
version = "1.0"
dependencies = ["stubby>=1"]

[project.optional-dependencies]
chapters = ["a_chapters.library>=2,<3"]

[build-system]
requires = []
build-backend = "backend"
backend-path = ["course_utils"]
"""
BACKEND = """\
import pathlib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    here = str(pathlib.Path(__file__).resolve().parents[1])
    name = "llm_course-1.0-py3-none-any.whl"
    info = "llm_course-1.0.dist-info/"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as file:
        file.writestr("llm_course.pth", here)
        about = ["Metadata-Version: 2.1", "Name: llm-course", "Version: 1.0", "Provides-Extra: chapters"]
        about += ["Requires-Dist: stubby>=1", "Requires-Dist: a-chapters-library>=2,<3; extra == 'chapters'", ""]
        file.writestr(info + "METADATA", "\\n".join(about))
        file.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(info + "RECORD", "")
    return name
"""


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", asks: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info/"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        file.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asks}")
        file.writestr(info + "WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(info + "RECORD", "")
    return path


@pytest.fixture
def course(tmp_path: Path) -> Path:
    root = tmp_path / "a course"
    for name in ("course_utils", "notebooks"):
        (root / name).mkdir(parents=True)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "constraints.txt").write_text("stubby==1.5\n")
    (root / "course_utils" / "__init__.py").write_text("")
    (root / "course_utils" / "backend.py").write_text(BACKEND)
    (root / "course_utils" / "__pycache__").mkdir()
    (root / "course_utils" / "__pycache__" / "x.pyc").write_text("")
    (root / "notebooks" / "00_start_here.ipynb").write_text("{}")
    return root


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    wheel(tmp_path / "wheels", "stubby", "1.5")
    wheel(tmp_path / "wheels", "stubby", "1.9")
    wheel(tmp_path / "wheels", "a_chapters_library", "2.0")
    return tmp_path / "wheels"


def test_a_bundle_holds_what_is_needed_and_its_checksums(tmp_path, course, wheels):
    made = write_bundle(tmp_path / "stick", [wheels], course)
    assert made.systems == ("Linux", "macOS", "Windows") and made.wheels == 3 and made.size > 0
    names = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    assert {"SHA256SUMS", "install.py", "course/notebooks/00_start_here.ipynb", "course/pyproject.toml"} <= names
    assert not any("__pycache__" in name for name in names)
    assert check(made.folder) == len(names) - 1


@pytest.mark.parametrize("how", ["changed", "cut", "missing", "line"])
def test_a_broken_checksum_is_named(tmp_path, course, wheels, capsys, how):
    folder = write_bundle(tmp_path / "stick", [wheels], course).folder
    victim = folder / "wheels" / "stubby-1.5-py3-none-any.whl"
    data = victim.read_bytes()
    if how == "missing":
        victim.unlink()
    elif how == "line":
        with open(folder / bundle.SUMS, "a", encoding="utf-8") as file:
            file.write("0" * 64 + "  ../../etc/passwd\n")
    else:
        victim.write_bytes(data[:-9] if how == "cut" else bytes([data[0] ^ 1]) + data[1:])
    assert cli.main(["workshop", "bundle", str(folder), "--check"]) == 1
    said = capsys.readouterr().err
    assert ("stubby-1.5" in said or "passwd" in said) and "Copy the bundle once more" in said
    if how != "line":
        done = subprocess.run(
            [sys.executable, str(folder / "install.py"), str(tmp_path / "env")], capture_output=True, text=True
        )
        assert done.returncode == 1 and "Nothing was installed" in done.stderr and "stubby-1.5" in done.stderr
        assert not (tmp_path / "env").exists()


def test_what_is_missing_is_named_by_system(tmp_path, course, wheels, capsys):
    for path in wheels.glob("stubby*"):
        path.unlink()
    with pytest.raises(BundleError, match="missing are stubby.*pip wheel"):
        write_bundle(tmp_path / "stick", [wheels], course)
    wheel(wheels, "stubby", "1.5", "cp311-cp311-manylinux_2_28_x86_64")
    wheel(tmp_path / "more", "stubby", "1.5", "cp311-cp311-macosx_11_0_arm64")
    made = write_bundle(tmp_path / "stick", [wheels, tmp_path / "more"], course)
    assert made.systems == ("Linux", "macOS") and made.lacking == {"Windows": ("stubby",)}
    with pytest.raises(BundleError, match="is not empty"):
        write_bundle(tmp_path / "stick", [wheels], course)
    with pytest.raises(BundleError, match="holds no wheel"):
        write_bundle(tmp_path / "other", [course], course)
    (wheels / "stubby-1.5.tar.gz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"sources, not wheels.*stubby-1.5.tar.gz.*pip wheel --no-deps"):
        write_bundle(tmp_path / "other", [wheels], course)
    (wheels / "stubby-1.5.tar.gz").unlink()
    (wheels / "torn-1-py3-none-any.whl").write_bytes(b"PK\x03\x04")
    with pytest.raises(BundleError, match="torn-1-py3-none-any.whl is no whole wheel"):
        write_bundle(tmp_path / "other", [wheels], course)
    assert not (tmp_path / "other").exists()
    with pytest.raises(BundleError, match="is no bundle"):
        check(tmp_path)
    assert cli.main(["workshop", "bundle", str(tmp_path / "new")]) == 1
    assert "give --wheels" in capsys.readouterr().err


def test_what_a_package_needs_is_needed_too(tmp_path, course, wheels):
    asks = ["below", "only-there; sys_platform == 'win32'", "never; extra == 'tests'", "old; python_version < '3'"]
    (wheels / "stubby-1.9-py3-none-any.whl").unlink()
    wheel(wheels, "stubby", "1.5", asks="".join(f"Requires-Dist: {line}\n" for line in asks))
    with pytest.raises(BundleError, match="missing are below, only-there"):
        write_bundle(tmp_path / "stick", [wheels], course)
    wheel(wheels, "below", "1", asks="Requires-Dist: stubby[tests]\n")  # in a circle, and with an extra
    with pytest.raises(BundleError, match=r"missing are never, only-there\."):
        write_bundle(tmp_path / "stick", [wheels], course)
    wheel(wheels, "never", "1")
    made = write_bundle(tmp_path / "stick", [wheels], course)
    assert made.systems == ("Linux", "macOS") and made.lacking == {"Windows": ("only-there",)}


@pytest.mark.slow
def test_it_installs_without_a_network(tmp_path, course, wheels):
    folder = write_bundle(tmp_path / "a stick of Zoë's", [wheels], course).folder
    command = [sys.executable, str(folder / "install.py"), str(tmp_path / "env")]
    if isolated.room().closed:
        command = ["unshare", "--user", "--map-root-user", "--net", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    python = tmp_path / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    code = "import stubby, a_chapters_library, course_utils; print(stubby.version)"
    shown = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "1.5", "the pinned version, not the newest"


@pytest.mark.workshop
def test_the_real_course_is_installed_and_taught_without_a_network(tmp_path):
    """With BUNDLE_WHEELS (a folder of `pip wheel`) nothing is asked of the network; else half a gigabyte, or three."""
    root, wheels = chapters.root(), os.environ.get("BUNDLE_WHEELS", str(tmp_path / "wheels"))
    if "BUNDLE_WHEELS" not in os.environ:
        asked = [".[chapters]", "setuptools>=77"]
        get = [sys.executable, "-m", "pip", "wheel", "-q", "-w", wheels, "-c", "constraints.txt", *asked]
        subprocess.run(get, cwd=root, check=True)
    made = write_bundle(tmp_path / "a stick", [Path(wheels)], root)
    print(f"\n{made.wheels} packages, {made.size / 1e6:.0f} MB, for {made.systems}", flush=True)
    start = "import os, sys; sys.path.insert(0, sys.argv[1]); from course_utils.workshop import confined; "
    start += "confined.loopback(); os.execv(sys.argv[2], sys.argv[2:])"
    if not isolated.room().closed:
        pytest.skip("this system gives no namespaces of its own")
    alone = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", start, str(root)]
    given = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PIP_", "PYTHON"))}
    given |= {"PIP_CONFIG_FILE": os.devnull, "COURSE_HOME": str(tmp_path / "a home"), "COURSE_PROFILE": "smoke"}

    def run(*command: object) -> str:
        done = subprocess.run([*alone, *map(str, command)], env=given, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    base, where = getattr(sys, "_base_executable", sys.executable), tmp_path / "an environment"
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    assert subprocess.run([*alone, base, "-c", reach], capture_output=True).returncode, "there is no network"
    assert "Installed. Begin with" in run(base, made.folder / "install.py", where)
    said = run(where / "bin" / "course", "doctor")
    print(said, flush=True)
    assert "the tested versions" in said and "fit for the course" in said
    said = run(where / "bin" / "course", "run", "00")
    print(said, flush=True)
    assert "went through" in said
    victim = next(path for path in (made.folder / "wheels").glob("transformers-*.whl"))
    with open(victim, "r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0")
    done = subprocess.run([base, made.folder / "install.py", tmp_path / "second"], capture_output=True, text=True)
    assert done.returncode == 1 and "Nothing was installed" in done.stderr and victim.name in done.stderr
