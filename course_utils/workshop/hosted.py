"""The course on a host that starts a bare kernel: Google Colab and Kaggle.

``cell`` is the first code cell of each learner's notebook. Elsewhere it does nothing. On those two hosts it clones the
course and runs this file from there, before any package is installed: so nothing but the standard library is imported.

The pinned packages are installed, but for those that the host's own kernel runs on: with another IPython under it, the
page and the kernel would no longer understand each other.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HOSTS_OWN = frozenset(  # what a kernel and the page before it speak with each other through
    "comm debugpy ipykernel ipython jupyter-client jupyter-core jupyter-server jupyterlab nbclient nbconvert nbformat "
    "notebook pyzmq tornado traitlets".split()
)
ID = "on-a-host"  # of the cell

_CELL = """\
# On Colab and Kaggle this cell installs the course; anywhere else it does nothing.
import os
import runpy
import subprocess
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    course = os.path.abspath(".." if os.path.isdir("../course_utils") else "course")
    source = os.environ.get("COURSE_REPOSITORY") or "{address}"
    if not os.path.isdir(course):
        if not source:
            raise RuntimeError("Where does the course lie? Set os.environ['COURSE_REPOSITORY'] to its address.")
        subprocess.run(["git", "clone", "--quiet", source, course], check=True)
    runpy.run_path(f"{{course}}/course_utils/workshop/hosted.py")["prepare"](course)
"""


def cell(address: str) -> str:
    """Source of the cell. ``address``: of the course's repository, "" where none is known."""
    return _CELL.format(address=address).rstrip("\n")


def address(root: Path) -> str:
    """The repository's address as pyproject.toml's ``[project.urls]`` names it, or "" if it names none."""
    import tomllib

    file = root / "pyproject.toml"
    if not file.is_file():
        return ""
    return tomllib.loads(file.read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository", "").rstrip("/")


def badges(root: Path) -> str:
    """Lines for README.md that open chapter 00 on Colab, Kaggle and Binder, and the state of the tests; "" without an
    address on GitHub, which these four are built on.
    """
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?", address(root))
    if not match:
        return ""
    name, first = match[1], "notebooks/00_start_here.ipynb"
    shown = {
        "Open in Colab": (
            "https://colab.research.google.com/assets/colab-badge.svg",
            f"https://colab.research.google.com/github/{name}/blob/main/{first}",
        ),
        "Open in Kaggle": (
            "https://kaggle.com/static/images/open-in-kaggle.svg",
            f"https://kaggle.com/kernels/welcome?src=https://github.com/{name}/blob/main/{first}",
        ),
        "Open in Binder": (
            "https://mybinder.org/badge_logo.svg",
            f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{first}",
        ),
        "Tests": (
            f"https://github.com/{name}/actions/workflows/test.yml/badge.svg",
            f"https://github.com/{name}/actions/workflows/test.yml",
        ),
    }
    return "\n".join(f"[![{text}]({picture})]({target})" for text, (picture, target) in shown.items())


def pins(root: Path) -> tuple[list[str], list[str]]:
    """(requirements, constraints) for a host, as lines ``name==version``: what the chapters need, and what that needs.

    Raises KeyError if a requirement of pyproject.toml has no pin in constraints.txt.
    """
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {_plain(line.partition("==")[0]): line for line in lines}
    asked = [*project["dependencies"], *project["optional-dependencies"]["chapters"]]
    names = [_plain(re.split(r"[<>=!~;\[ ]", text, maxsplit=1)[0]) for text in asked]
    return [pinned[name] for name in names if name not in HOSTS_OWN], [
        line for name, line in pinned.items() if name not in HOSTS_OWN
    ]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Version by name of every package that this interpreter sees; 2.13.0+cpu is a build of 2.13.0."""
    found = [one for one in metadata.distributions() if one.metadata["Name"]]
    return {_plain(one.metadata["Name"]): one.version.partition("+")[0] for one in found}


def prepare(course: str) -> None:
    """Install what is missing, and let this kernel find the course in the folder ``course``.

    Raises RuntimeError that says what to do where pip fails, or where the kernel has imported a package that now has
    another version.
    """
    root = Path(course)
    wanted, held = pins(root)
    before = installed()
    if any(before.get(_plain(name)) != version for name, _, version in (line.partition("==") for line in wanted)):
        print("Installing the course's packages; this takes some minutes ...")
        _install(wanted, held)
    importlib.invalidate_caches()
    changed = {name for name, version in installed().items() if name in before and before[name] != version}
    owners = metadata.packages_distributions()
    stale = [name for name in owners if name in sys.modules and any(_plain(one) in changed for one in owners[name])]
    if stale:
        raise RuntimeError(
            f"All is installed, but this kernel had imported {', '.join(sorted(stale))} in another version. Restart it "
            "(Colab: Runtime > Restart session; Kaggle: Run > Restart), then run this cell again."
        )
    sys.path.insert(0, course)
    os.environ["PYTHONPATH"] = course  # for the processes that chapters start
    os.chdir(root / "notebooks")
    print("The course is ready.")


def _install(wanted: list[str], held: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        requirements.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["-r", str(requirements), "-c", str(constraints)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(
            f"pip could not install the packages. On Kaggle, switch the internet on (Settings), then run this cell "
            f"again. pip says:\n{done.stdout[-2000:]}"
        )


if __name__ == "__main__":
    lines = badges(Path(__file__).resolve().parents[2])
    print(lines or 'Name the repository first, in pyproject.toml: [project.urls] Repository = "https://github.com/..."')
