"""Every claim of the author's notebooks was measured with three seeds or more, and held each time."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

import seeds

SOLUTIONS = Path(__file__).resolve().parent.parent / "solutions"


def claimed() -> list[str]:
    """The ids of all claims in the solutions' code; for one whose name is put together, those that were recorded."""
    found = []
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found += re.findall(r"\bclaim\(\s*\"(\d\d\.[a-z][a-z0-9_]*)\"", code)
        for start in re.findall(r"\bclaim\(\s*f\"(\d\d\.[a-z][a-z0-9_]*)\{", code):
            found += sorted({row["id"] for row in seeds.read() if row["id"].startswith(start)}) or [f"{start}?"]
    return found


@pytest.fixture(scope="module")
def rows():
    by_id = defaultdict(dict)
    for row in seeds.read():
        by_id[row["id"]][row["seed"]] = row
    return by_id


@pytest.mark.parametrize("id", claimed())
def test_a_claim_held_for_three_seeds(id, rows):
    assert len(rows[id]) >= 3, f"only seeds {sorted(rows[id])} are recorded: make seeds"
    assert [seed for seed, row in rows[id].items() if not row["holds"]] == []


def test_no_row_is_of_a_claim_that_is_gone(rows):
    assert set(rows) == set(claimed())


def test_a_row_replaces_only_its_own_chapter_and_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "FILE", tmp_path / "seeds.jsonl")
    row = {"text": "-", "bound": {"at_least": 0.0}, "holds": True}
    seeds.replace(
        "03", 0, [row | {"id": "03.a", "seed": 0, "value": 1.0}, row | {"id": "03.b", "seed": 0, "value": 2.0}]
    )
    seeds.replace("03", 1, [row | {"id": "03.a", "seed": 1, "value": 3.0}])
    seeds.replace("06", 0, [row | {"id": "06.a", "seed": 0, "value": 4.0}])
    seeds.replace("03", 0, [row | {"id": "03.a", "seed": 0, "value": 5.0}])
    assert [(row["id"], row["seed"], row["value"]) for row in seeds.read()] == [
        ("03.a", 0, 5.0),
        ("03.a", 1, 3.0),
        ("06.a", 0, 4.0),
    ]
