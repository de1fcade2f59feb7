"""Train the course's checkpoints again: ``make bake``, or ``python -m course_utils.recipes [base] [instruct] ...``.

Each checkpoint has one recipe. Baking is resumable: stopped at any moment, the same command goes on. The
result is a model folder with a card that states the recipe and what was measured.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from course_utils import settings
from course_utils.recipes import BAKES


def main(arguments: list[str] | None = None) -> int:
    """Bake the named checkpoints, all by default, in the order in which they build on each other."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.recipes", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BAKES)}; default: all")
    parser.add_argument("--ship", action="store_true", help="copy what was baked into the package, for all learners")
    options = parser.parse_args(arguments)
    names = options.names or list(BAKES)
    unknown = [name for name in names if name not in BAKES]
    if unknown:
        parser.error(f"there is no recipe for {', '.join(unknown)}; the course bakes {', '.join(BAKES)}")
    workplace = settings.home() / "bake" / settings.profile().name
    for name in (name for name in BAKES if name in names):
        print(f"baking {name} for the {settings.profile().name} profile; stop and start again whenever you like")
        folder = BAKES[name](workplace)
        print(f"{name} is on your shelf: {folder}")
        if options.ship:
            shipped = Path(__file__).parents[1] / "pretrained" / "weights" / name
            shutil.rmtree(shipped, ignore_errors=True)
            shutil.copytree(folder, shipped)
            print(f"{name} is shipped: {shipped}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
