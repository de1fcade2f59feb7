"""Train the course's models again: ``make bake``, or ``python -m course_utils.recipes [base] [instruct] ...``.

Each model has one recipe. Baking is resumable: stopped at any moment, the same command goes on. The result is a model
folder with a card that states the recipe and what was measured: one of your own, or with ``--ship`` one of the package.
"""

from __future__ import annotations

import argparse
import os
import shutil

from course_utils import files, settings
from course_utils.pretrained import store
from course_utils.recipes import BAKES


def main(arguments: list[str] | None = None) -> int:
    """Bake the named models, all by default, in the order in which they build on each other."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.recipes", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BAKES)}; default: all")
    parser.add_argument("--ship", action="store_true", help="bake into the package, for all learners")
    options = parser.parse_args(arguments)
    names = options.names or list(BAKES)
    unknown = [name for name in names if name not in BAKES]
    if unknown:
        parser.error(f"there is no recipe for {', '.join(unknown)}; the course bakes {', '.join(BAKES)}")
    work_dir = settings.home() / "bake" / settings.profile().name
    if options.ship:  # baked from shipped models alone, and not put among the maintainer's own
        os.environ["COURSE_HOME"] = str(work_dir)
    for name in (name for name in BAKES if name in names):
        print(f"baking {name} for the {settings.profile().name} profile; stop and start again whenever you like")
        folder = BAKES[name](work_dir)
        print(f"{name} is baked: {folder}")
        if options.ship:
            with files.atomic_folder(store.SHIPPED / name) as fresh:
                shutil.copytree(folder, fresh, dirs_exist_ok=True)
            print(f"{name} is shipped: {store.SHIPPED / name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
