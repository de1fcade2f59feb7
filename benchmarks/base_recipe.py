"""Time to quality: how long the recipe of the base takes to every figure of the model before it, and that one's recipe.

    python benchmarks/base_recipe.py     about two minutes on two cores

Seconds per token of both recipes are measured in turns in one run (a machine's pace changes by the hour), and
multiplied with tokens: all of the old recipe's, and the new one's until the report of its run first showed every figure
that the old card had. Reports are made some thousand tokens apart, so the new time is rounded up.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from training import TURNS, measure, processes, show, sizes

# The recipe and the card of commit 5d03dbc. Facts were asked in a held-out phrasing of unread words then, and the
# registers not at all; the gap to the entropy is measured at the end of a run alone.
OLD = {"optimizer": "adamw", "rows": 32, "length": 128, "tokens": 6_000 * 32 * 128}
OLD_FIGURES = {
    "facts": 1.0,
    "rolls_1_shot": 1.0,
    "rolls_3_shots": 1.0,
    "translation": 1.0,
    "stories": 0.8133,
    "visits": 0.2467,
    "sums": 1.0,
    "sums_held_out": 1.0,
    "tone": 1.0,
}
CARD = Path(__file__).resolve().parents[1] / "course_utils" / "pretrained" / "weights" / "base" / "card.json"
STEPS = 60


def main() -> None:
    card = json.loads(CARD.read_text(encoding="utf-8"))
    recipe, learned = card["recipe"], card["learned"]
    new = {"optimizer": "muon", "rows": recipe["batch_size"], "length": recipe["row_length"]}
    per_step = new["rows"] * new["length"]
    reached = {name: next((r["step"] for r in learned if r[name] >= v), None) for name, v in OLD_FIGURES.items()}
    kept = next((r["step"] for r in learned if all(r[name] >= v for name, v in OLD_FIGURES.items())), None)
    context = processes("cpu")
    pace: dict[str, list[float]] = {"old": [], "new": []}
    for _ in range(TURNS):
        for name, how in (("old", OLD), ("new", new)):
            steps = STEPS * OLD["rows"] * OLD["length"] // (how["rows"] * how["length"])
            job = {key: value for key, value in how.items() if key != "tokens"}
            job |= {"runner": "course", "model": "decoder", "size": sizes("laptop"), "device": "cpu", "threads": None}
            found = measure(context, **job, steps=min(steps, STEPS))
            pace[name].append(found["seconds"] / (how["rows"] * how["length"]))
    old, new_pace = (statistics.median(pace[name]) for name in ("old", "new"))
    whole = OLD["tokens"] * old
    rows = [["old recipe, whole", f"{OLD['tokens'] / 1e6:.1f} M", f"{1 / old:,.0f}", f"{whole:,.0f}", "1"]]
    lasts = {"whole": card["tokens"]} | ({"every old figure at once": kept * per_step} if kept else {})
    lasts |= {f"{name} {OLD_FIGURES[name]:g}": step * per_step for name, step in reached.items() if step}
    for name, tokens in lasts.items():
        seconds = tokens * new_pace
        rows.append(
            [
                f"new: {name}",
                f"{tokens / 1e6:.1f} M",
                f"{1 / new_pace:,.0f}",
                f"{seconds:,.0f}",
                f"{seconds / whole:.2f}",
            ]
        )
    show("Seconds without the reports", ["", "tokens", "tokens/s", "seconds", "ratio"], rows)
    missing = [name for name, step in reached.items() if step is None]
    if missing:
        print(f"never reached: {', '.join(missing)}")


if __name__ == "__main__":
    main()
