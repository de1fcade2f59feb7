"""A data set checked, split and tokenized: the course's one pass beside `datasets.load_dataset` and `map(tokenize)`.

    python benchmarks/data.py                     # 1,000,000 rows, about 500 MB
    python benchmarks/data.py --rows 50000 --folder data

Each side runs in a process of its own, with one worker, and reports seconds (wall clock and processor), the peak of
its memory, and a digest of all token ids, which must be the same. The plain side only tokenizes: it checks no row and
splits nothing. It is run as most write it, row by row, and with ``batched=True``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
TEXTS = 20_000  # documents of the Isles that the rows are put together from


def make(path: Path, rows: int) -> None:
    """Rows of some 500 bytes: parts of documents, one in twenty a near copy of an earlier row."""
    from course_utils.world import World

    rng = random.Random(0)
    sentences = sorted({s for text in World().corpus(TEXTS, seed=1)["text"] for s in text.split("\n") if s})
    recent: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            if row % 20 == 19:
                text = rng.choice(recent) + " " + rng.choice(sentences)[:40]
            else:
                parts = [rng.choice(sentences)]
                while sum(map(len, parts)) < 380:
                    parts.append(rng.choice(sentences))
                text = " ".join(parts)
            recent = [*recent[-99:], text]
            file.write(json.dumps({"id": row, "text": text}, ensure_ascii=False) + "\n")


def ours(path: Path, folder: Path) -> str:
    """Checked, split and tokenized by the course; the digest of the ids."""
    from course_utils.text.columns import detect
    from course_utils.text.data_check import check_data, first_rows

    found = check_data(path, folder, _tokenizer(), detect(first_rows(path)))
    print(f"    {found.good:,} good rows, {found.tokens:,} tokens, {found.near_copies:,} near copies", file=sys.stderr)
    return found.digest


def plain(path: Path, folder: Path, batched: bool) -> str:
    """Loaded and tokenized by `datasets`; the digest of the ids."""
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    tokenizer = _tokenizer()
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder))

    def tokenize(row: dict) -> dict:
        return {"input_ids": tokenizer(row["text"])["input_ids"]}

    rows = rows.map(tokenize, batched=batched, remove_columns=["id", "text"])
    _report("tokenized")
    digest, lengths = hashlib.sha256(), []
    for batch in rows.with_format("arrow").iter(1_000):
        column = batch["input_ids"].combine_chunks()
        digest.update(column.values.to_numpy().astype(np.uint32).tobytes())
        lengths.append(np.diff(column.offsets.to_numpy()).astype(np.int64))
    digest.update(np.concatenate(lengths).tobytes())
    return digest.hexdigest()


def _tokenizer():
    import course_utils
    from course_utils.text.tokenizer import load_tokenizer

    return load_tokenizer(Path(course_utils.__file__).parent / "pretrained/weights/instruct")


_BEGAN = time.perf_counter()


def _report(what: str) -> None:
    """What this process has taken so far. On the plain side the digest comes behind it and is not counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = [time.perf_counter() - _BEGAN, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
    print(json.dumps({"what": what, "figures": figures}), flush=True)


def measure(side: str, path: Path, place: Path) -> dict:
    """Run one side in a process of its own."""
    folder = Path(tempfile.mkdtemp(dir=place))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "HF_DATASETS_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--side", side, "--file", str(path), "--folder", str(folder)]
    try:
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        shutil.rmtree(folder)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    wall, processor, peak = next(line["figures"] for line in lines if line.get("what") == "tokenized")
    return {"wall": wall, "processor": processor, "peak": peak, "digest": lines[-1]["digest"]}


def main() -> None:
    """Print one line per side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the file and all that is written go; a temporary folder if left out")
    parser.add_argument("--sides", nargs="*", default=["course", "plain", "plain batched"])
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        path, folder = Path(asked.file), Path(asked.folder)
        if asked.side == "course":
            digest = ours(path, folder / "out")
            _report("tokenized")
        else:
            digest = plain(path, folder, asked.side == "plain batched")
        print(json.dumps({"digest": digest}))
        return
    place = Path(asked.folder or tempfile.mkdtemp())
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"rows-{asked.rows}.jsonl"
    if not path.exists():
        make(path, asked.rows)
    print(f"{asked.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
    results = {}
    for side in asked.sides:
        got = results[side] = measure(side, path, place)
        print(
            f"{side:<14} {got['wall']:8.1f} s wall  {got['processor']:8.1f} s processor  "
            f"{asked.rows / got['processor']:9,.0f} rows/s of processor  {got['peak']:6.0f} MB  {got['digest'][:16]}",
            flush=True,
        )
    first = results[asked.sides[0]]
    for side, got in results.items():
        same = "the same ids" if got["digest"] == first["digest"] else "OTHER ids"
        times = got["processor"] / first["processor"]
        print(f"{side}: {same}; {times:.2f} times the processor time, {got['wall'] / first['wall']:.2f} the wall time")
    if asked.folder is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
