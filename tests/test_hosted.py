"""Colab, Kaggle, Binder: the cell that installs the course there, on stand-ins for what is not here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_utils.workshop import hosted

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "https://example.org/course.git"


def run_cell(address: str = ADDRESS) -> None:
    exec(compile(hosted.cell(address), "cell", "exec"), {})


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An empty folder to work in, git and pip recorded, and an interpreter that has no package at all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setenv("PYTHONPATH", "as it was")  # so that it comes back
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "COURSE_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    state = types.SimpleNamespace(commands=[], files={}, packages={}, status=0)

    def distributions(**_):
        found = []
        for name, version in state.packages.items():
            top = {"top_level.txt": name, "METADATA": ""}
            found.append(types.SimpleNamespace(metadata={"Name": name}, version=version, read_text=top.get, files=None))
        return found

    def run(command, **keywords):
        state.commands.append(list(map(str, command)))
        if command[0] == "git":
            target = Path(command[-1])
            for name in ("pyproject.toml", "constraints.txt", "course_utils/workshop/hosted.py"):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target / name)
            (target / "notebooks").mkdir()
        else:
            state.files = {flag: Path(command[command.index(flag) + 1]).read_text() for flag in ("-r", "-c")}
            if not state.status:
                state.packages.update(line.split("==") for line in state.files["-r"].split())
                state.packages["torch"] += "+cpu"  # as the host's index may have it
        return subprocess.CompletedProcess(command, state.status, "no connection")

    monkeypatch.setattr(importlib.metadata, "distributions", distributions)
    monkeypatch.setattr(subprocess, "run", run)
    return state


def pretend(host: str, monkeypatch) -> None:
    if host == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    else:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")


def test_elsewhere_the_cell_does_nothing(bare, tmp_path):
    before = list(sys.path), dict(os.environ)
    run_cell()
    assert bare.commands == [] and os.listdir() == [] and Path.cwd() == tmp_path
    assert (list(sys.path), dict(os.environ)) == before


@pytest.mark.parametrize("host", ["colab", "kaggle"])
def test_on_a_host_the_course_is_cloned_and_its_pins_installed_once(host, bare, monkeypatch, tmp_path, capsys):
    pretend(host, monkeypatch)
    run_cell()
    course = tmp_path / "course"
    clone, pip = bare.commands
    assert clone == ["git", "clone", "--quiet", ADDRESS, str(course)]
    assert pip[:4] == [sys.executable, "-m", "pip", "install"]
    wanted, held = (bare.files[flag].split() for flag in ("-r", "-c"))
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in wanted + held) and set(wanted) < set(held)
    names = {canonicalize_name(line.split("==")[0]) for line in held}
    assert {"torch", "transformers", "ipywidgets", "fsrs"} < names and not names & hosted.HOSTS_OWN
    assert Path.cwd() == course / "notebooks" and sys.path[0] == str(course) == os.environ["PYTHONPATH"]
    run_cell()  # the same kernel again
    os.chdir(tmp_path)  # a kernel that was started anew
    run_cell()
    assert len(bare.commands) == 2 and Path.cwd() == course / "notebooks"
    assert capsys.readouterr().out.count("The course is ready.") == 3


def test_a_kernel_with_another_version_in_use_is_to_be_started_anew(bare, monkeypatch, tmp_path):
    pretend("colab", monkeypatch)
    bare.packages = {"numpy": "1.0", "scipy": "1.0", "tqdm": "1.0"}
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    monkeypatch.delitem(sys.modules, "scipy", raising=False)
    with pytest.raises(RuntimeError, match="imported numpy(, tqdm)? in another version. Restart") as caught:
        run_cell()
    assert "scipy" not in str(caught.value)  # changed as well, but not in use
    assert Path.cwd() == tmp_path
    run_cell()  # after the restart nothing changes any more
    assert Path.cwd() == tmp_path / "course" / "notebooks"


def test_what_goes_wrong_says_what_to_do(bare, monkeypatch):
    pretend("kaggle", monkeypatch)
    with pytest.raises(RuntimeError, match="COURSE_REPOSITORY"):
        run_cell(address="")
    assert bare.commands == []
    bare.status = 1
    with pytest.raises(RuntimeError, match="(?s)switch the internet on.*no connection"):
        run_cell()
    bare.status = 0
    monkeypatch.setenv("COURSE_REPOSITORY", "elsewhere")  # another copy is asked for by name
    run_cell()
    assert [command[0] for command in bare.commands].count("git") == 1  # the first clone is still there


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="its stand-in for pip is a shell script")
def test_the_cell_needs_nothing_but_python_and_git(tmp_path):
    """A real clone, in an interpreter that sees no package; pip, which would really install, is a script that fails."""
    source = tmp_path / "source"
    needed = "pyproject.toml constraints.txt course_utils/workshop/hosted.py notebooks/00_start_here.ipynb".split()
    for name in needed:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    work, pip = tmp_path / "work", tmp_path / "pip"
    work.mkdir()
    pip.write_text('#!/bin/sh\necho "asked: $*"\nexit 1\n')
    pip.chmod(0o755)
    stand_ins = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    stand_ins += f"sys.executable = {str(pip)!r}\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PYTHON"))}
    command = [sys.executable, "-S", "-c", stand_ins + hosted.cell(str(source))]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert (work / "course" / "notebooks" / "00_start_here.ipynb").is_file(), done.stderr
    assert "RuntimeError: pip could not install" in done.stderr and "asked: -m pip install" in done.stderr


def test_each_learners_notebook_begins_with_the_cell():
    found = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert found
    for path in found:
        code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert [cell["id"] == hosted.ID for cell in code] == [True] + [False] * (len(code) - 1), path.name
        assert "".join(code[0]["source"]) == hosted.cell(hosted.address(ROOT))
        assert code[0]["source"][0].startswith("# On Colab and Kaggle")


def test_a_host_gets_all_that_the_chapters_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {Requirement(line).name for line in project["dependencies"] + project["optional-dependencies"]["chapters"]}
    wanted, held = hosted.pins(ROOT)
    names = {canonicalize_name(line.split("==")[0]) for line in wanted}
    assert names == {canonicalize_name(name) for name in asked} - hosted.HOSTS_OWN
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert {canonicalize_name(line.split("==")[0]) for line in set(pinned) - set(held)} == hosted.HOSTS_OWN


@pytest.mark.parametrize("url", ["https://github.com/someone/course", "https://github.com/someone/course.git"])
def test_badges_are_made_from_one_address(url, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{url}"\n')
    lines = hosted.badges(tmp_path).splitlines()
    assert len(lines) == 4 and all("someone/course" in line and ".git" not in line for line in lines if "gh/" in line)
    for path in re.findall(r"(?:blob/main|tree)/(notebooks/[\w.]+)", "\n".join(lines)):
        assert (ROOT / path).is_file()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert hosted.badges(tmp_path) == "" == hosted.address(tmp_path / "nowhere")


def test_the_readme_shows_the_badges_or_says_how_to_get_them():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    versions = [line.rpartition(" ")[2] for line in classifiers if "Python :: 3." in line]
    assert f"[![Python {' | '.join(versions)}]" in text
    expected = hosted.badges(ROOT)
    assert expected in text if expected else "python -m course_utils.workshop.hosted" in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_binder_builds_the_pinned_environment():
    """What repo2docker finds: a Python that the tests know, and a script that it can run."""
    version = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert f'"{version}"' in workflow
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK) and script.read_bytes().startswith(b"#!/bin/bash\n")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert '-c constraints.txt -e ".[chapters]"' in script.read_text()
