"""The project's frame: quick imports, layers, pins, offline commands, and nothing of one machine in the files."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import memory_limit
import suite

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {"torch", "transformers", "datasets", "trl", "peft", "matplotlib", "IPython", "ipywidgets", "numpy", "pandas"}


def tracked_files() -> list[Path]:
    """The files that belong to the project: those that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:  # an unpacked archive
        hidden = {".venv", ".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.relative_to(ROOT).parts)]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def requirements() -> list[Requirement]:
    every = PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    return [r for r in map(Requirement, every) if r.name != PROJECT["name"]]


def test_importing_the_package_is_quick(in_time):
    code = (
        "import json, sys, time\n"
        "before, start = set(sys.modules), time.process_time()\n"
        "import course_utils\n"
        "print(json.dumps([time.process_time() - start, sorted(set(sys.modules) - before)]))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(result.stdout)
    assert not HEAVY & {name.split(".")[0] for name in modules}
    in_time(seconds < 0.5, f"{seconds:.2f} s")


def test_arrows_point_down_the_layers():
    (command,) = (command for command, _ in suite.lint() if "lint-imports" in command[0])
    result = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_code_and_notebooks_are_clean(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_ruff_looks_at_notebooks(tmp_path):
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": "a",
        "metadata": {},
        "outputs": [],
        "source": "import os",
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "bad.ipynb").write_text(json.dumps(notebook))
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
        str(tmp_path),
    ]
    assert "F401" in subprocess.run(command, capture_output=True, text=True).stdout


def test_every_constraint_is_an_exact_pin():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9a-z.]*", line)] == []
    assert len(constraints()) == len(lines)


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_each_dependency_is_a_range_that_holds_its_pin(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == {">=", "<"}
    assert requirement.specifier.contains(constraints()[canonicalize_name(requirement.name)])


def test_uv_locks_what_pip_is_held_to():
    """uv.lock has the versions of constraints.txt; more only for other systems: what is needed behind some marker."""
    locked = {canonicalize_name(p["name"]): p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    versions = {name: package["version"] for name, package in locked.items() if name != PROJECT["name"]}
    assert {name: versions.get(name) for name in constraints()} == constraints()
    always, waiting = set(), [PROJECT["name"]]
    while waiting:
        name = waiting.pop()
        always.add(name)
        parts = [locked[name].get("dependencies", []), *locked[name].get("optional-dependencies", {}).values()]
        waiting += [d["name"] for part in parts for d in part if "marker" not in d and d["name"] not in always]
    assert always - {PROJECT["name"]} <= set(constraints())


@pytest.mark.slow
def test_each_dependency_is_imported_somewhere():
    """A dependency without a use is a download without a reason."""
    used_by_name = {  # what is used by running it, or by a library of the course that needs it
        "accelerate",
        "ipykernel",
        "jupyterhub-idle-culler",  # started by the Hub
        "jupyterlab",
        "nbval",
        "pytest-notebook",
        "ruff",
        "import-linter",
        "pre-commit",
        "nbgrader",
        "pytest-xdist",
        "mypy",
        "types-pyyaml",
        "coverage",
        "pyyaml",
        "onnxscript",
        "scikit-learn",  # imported as sklearn
        "myst-nb",  # named to Sphinx by the book, as furo is
        "furo",
    }
    suffixes = {".py", ".ipynb"}
    sources = "\n".join(p.read_text(encoding="utf-8") for p in tracked_files() if p.suffix in suffixes)
    unused = [
        r.name
        for r in requirements()
        if r.name not in used_by_name
        and not re.search(rf"(import |from |wheel\(\"){re.escape(r.name.lower().replace('-', '_'))}\b", sources, re.I)
    ]
    assert unused == []


def test_no_file_names_a_machine():
    """Paths of one machine have no place in a file that others read, outputs of notebooks included."""
    pattern = re.compile(rb"(?<![\w.$}/-])/(?:work|tmp|root|home|Users|opt)/[\w.]")
    found = []
    for path in tracked_files():
        if path.suffix in {".safetensors", ".png"}:
            continue
        text = path.read_bytes()
        for number, line in enumerate(text.splitlines() if pattern.search(text) else [], 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100].decode(errors='replace')}")
    assert found == []


@pytest.mark.slow
def test_what_jupyterlab_is_told_still_exists():
    """The settings that keep news and foreign panels away name plugins that this JupyterLab has."""
    from jupyterlab_server.config import get_page_config
    from jupyterlab_server.settings_utils import get_settings

    settings = ROOT / "jupyter" / "settings"
    schemas = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas"
    for plugin, values in json.loads((settings / "overrides.json").read_text(encoding="utf-8")).items():
        answer, _ = get_settings(str(settings), str(schemas), str(settings / "user"), schema_name=plugin)
        for key, value in values.items():
            assert answer["schema"]["properties"][key]["default"] == value
    disabled = json.loads((settings / "page_config.json").read_text(encoding="utf-8"))["disabledExtensions"]
    assert set(disabled) <= set(get_page_config([], str(settings))["disabledExtensions"])
    assert (schemas / "@jupyterlab" / "extensionmanager-extension").is_dir()


def lab_config() -> Any:
    """What JupyterLab's configuration file of the course sets."""
    from traitlets.config import Config

    config = Config()
    file = ROOT / "jupyter" / "jupyter_lab_config.py"
    exec(
        compile(file.read_text(encoding="utf-8"), str(file), "exec"),
        {"get_config": lambda: config, "__file__": str(file)},
    )
    return config


def test_jupyterlab_finds_the_style_that_dims_plots_in_a_dark_theme():
    config = lab_config()
    places = config.ServerApp.tornado_settings["static_custom_path"]
    text = "".join(Path(place, "custom.css").read_text(encoding="utf-8") for place in places)
    assert config.LabApp.custom_css and 'data-jp-theme-light="false"' in text and "brightness" in text


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps PATH in its terminal")
def test_jupyterlabs_own_terminal_knows_the_course(monkeypatch):
    """What the configuration sets: the environment's commands come first, in a shell that does not set PATH anew."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    config = lab_config()
    shell = config.ServerApp.terminado_settings["shell_command"]
    done = subprocess.run([*shell, "-c", "command -v course"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert Path(done.stdout.strip()).parent == Path(sys.executable).parent, done
    assert "-l" not in shell and "--login" not in shell


def test_the_suite_stops_at_the_first_failure_and_says_so(monkeypatch, capfd):
    fine, broken = [sys.executable, "-c", ""], [sys.executable, "-c", "raise SystemExit(3)"]
    steps = {"one": lambda: iter([(fine, None)]), "two": lambda: iter([(broken, None), (fine, None)])}
    monkeypatch.setattr(suite, "STEPS", {**steps, "three": steps["one"]})
    assert suite.main(["one"]) == 0
    capfd.readouterr()
    assert suite.main([]) == 1
    summary = [line.split()[:2] for line in capfd.readouterr().out.splitlines()[-3:]]
    assert summary == [["one", "passed"], ["two", "FAILED"], ["three", "not"]]
    assert suite.main(["four"]) == 2


def test_each_file_of_tests_is_in_one_share(monkeypatch):
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("test_*.py"))
    for cores in ([0], [0, 1], [0, 1, 2, 3]):
        monkeypatch.setattr(suite, "CORES", cores)
        shares = suite.shares()
        assert sorted(file for share in shares for file in share) == files and len(shares) == len(cores)


def test_the_suite_runs_offline_in_a_folder_of_its_own(monkeypatch, capfd):
    monkeypatch.setenv("COURSE_SEED", "7")
    monkeypatch.setenv("COURSE_HOME", "mine")
    code = (
        "import os; e = os.environ; print(e['COURSE_PROFILE'], e.get('COURSE_SEED'), e['HF_HUB_OFFLINE'], "
        "os.listdir(e['COURSE_HOME']))"
    )
    assert suite.run([sys.executable, "-c", code], "smoke") == 0
    assert capfd.readouterr().out.splitlines()[-1] == "smoke None 1 []"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_says_what_is_missing_without_a_python():
    command = ["make", "--no-print-directory", "PYTHON=no-such-python", "VENV=no-such-folder", "lint"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "PYTHON=no-such-python" in result.stderr
    assert "PYTHON=/path/to/python3" in result.stderr
    assert not (ROOT / "no-such-folder").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_works_offline_unless_asked():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COURSE_", "MAKE"))}
    command = ["make", "--no-print-directory", "-p", "-n", "help"]
    for online, expected in (("", True), ("1", False)):
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env=environment | {"COURSE_ONLINE": online}
        )
        assert ("HF_HUB_OFFLINE := 1" in result.stdout) is expected


def test_workflows_and_hooks_are_readable():
    readable = [ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff", *ROOT.glob(".github/**/*.yml")]
    assert len(readable) >= 7
    for path in readable:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
    assert json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))["postCreateCommand"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_readme_names_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z]+)\b", " ".join(re.findall(r"`([^`\n]+)`", text)))) <= targets
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert notebook.name in text


def test_the_readme_states_the_minutes_of_each_chapter():
    from course_utils import chapters
    from course_utils.classroom.exercises import registry

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for number in sorted(chapters.in_this_edition()):
        chapter = chapters.chapter(number)
        known = {id: check.minutes for id, check in registry.known(number).items()}
        assert registry.minutes(number) == known  # what the first card of the chapter says
        exercises = sum(known.values())
        row = next(line for line in text.splitlines() if f"notebooks/{chapter.stem}.ipynb" in line and "|" in line)
        stated = [int(cell) for cell in row.split("|")[3:5]]
        assert stated == [chapter.reading, exercises], f"chapter {number}: README.md says {stated}"


def test_the_readme_states_the_memory_of_each_chapter():
    """The table's last column is what `benchmarks/memory.py` measured, rounded up, and all of it fits 4 GB."""
    from course_utils import chapters

    measured = json.loads((ROOT / "benchmarks" / "memory.json").read_text(encoding="utf-8"))
    assert set(measured) == chapters.in_this_edition()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for number, mib in measured.items():
        stem = chapters.chapter(number).stem
        row = next(line for line in text.splitlines() if f"notebooks/{stem}.ipynb" in line and line.startswith("|"))
        assert row.split("|")[6].strip() == f"{math.ceil(mib / 1024 * 10) / 10:.1f}", f"chapter {number}: {mib} MiB"
    assert max(measured.values()) < 3 * 1024  # a quarter of 4 GB is left for JupyterLab and the system


@pytest.mark.slow
def test_a_chapter_says_what_it_is_before_it_imports_what_takes_seconds():
    """Its card comes first, in `start` and in the cell that calls it."""
    code = """
import json, sys
import course_utils
from course_utils.classroom.display import cards
cards.show = lambda card: print(json.dumps(sorted(sys.modules)))
course_utils.start("06")
assert "torch" in sys.modules
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not HEAVY - {"IPython"} & set(json.loads(said))
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        setup = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        first = f'import course_utils\n\nrun = course_utils.start("{path.name[:2]}")'
        assert setup == first or setup.startswith(first + "\n\n"), path.name


HOG = "import time; block = b'x' * (120 * 2**20); time.sleep(%s)"
PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"


@pytest.mark.slow
@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_process_that_takes_more_memory_than_it_may_is_ended(by_kernel):
    """A child of a child, which is where a chapter's kernel sits."""
    command = [sys.executable, "-c", PARENT, HOG % 2.5]
    status, taken = memory_limit.run(command, os.environ, 300, by_kernel=by_kernel)
    assert status == 0 and 120 < taken < 200
    with pytest.raises(memory_limit.TooMuch, match="than the 100 MiB"):
        memory_limit.run([*command[:-1], HOG % 60], os.environ, 100, by_kernel=by_kernel)
    assert memory_limit.run([sys.executable, "-c", "raise SystemExit(3)"], os.environ, 100, by_kernel=by_kernel)[0] == 3


@pytest.mark.slow
def test_the_suite_runs_notebooks_under_a_limit_of_memory(monkeypatch, capfd):
    hog = [sys.executable, "-c", PARENT, HOG % 2.5]
    monkeypatch.setenv("COURSE_TEST_MEMORY_GIB", "0.1")
    assert suite.run(hog, "laptop") == suite.run(hog, "laptop", core=suite.CORES[0]) == 137
    assert capfd.readouterr().out.count("STOPPED:") == 2
    assert suite.run(hog, None) == 0  # no notebooks: no limit
    monkeypatch.setenv("COURSE_TEST_MEMORY_GIB", "0.3")
    assert suite.run(hog, "laptop", core=suite.CORES[0]) == 0
    for wrong in ("4GB", "0", "-1"):
        monkeypatch.setenv("COURSE_TEST_MEMORY_GIB", wrong)
        with pytest.raises(SystemExit, match="no number of GiB"):
            suite.run(hog, "laptop")


@pytest.mark.slow
def test_the_benchmark_of_memory_measures_without_a_limit(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import memory

    assert 120 < memory.peak([sys.executable, "-c", PARENT, HOG % 2.5], dict(os.environ)) < 200
    with pytest.raises(RuntimeError, match="failed"):
        memory.peak([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
