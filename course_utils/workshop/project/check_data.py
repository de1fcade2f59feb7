"""Read the data row by row, name what is wrong, and split the rest. The file that was given is not changed."""

from __future__ import annotations

import hashlib
import json

import common


def main() -> None:
    said = common.settings()
    if not said["data"].is_file():
        raise SystemExit(f"there is no file {said['data']}; name one in config.toml, as `data`.")
    good, bad = [], []
    with said["data"].open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                good.append(common.as_messages(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))))
            except ValueError as error:  # no JSON and no UTF-8 are ValueErrors too
                bad.append({"line": number, "why": str(error), "row": line.decode("utf-8", errors="replace")[:2000]})
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for messages in good:
        # by the question, so that equal questions lie on one side; by a digest, so that a new row moves no other
        asked = " ".join(m["content"] for m in messages if m["role"] == "user").casefold().split()
        drawn = int(hashlib.sha256(f"{said['seed']} {' '.join(asked)}".encode()).hexdigest()[:8], 16) / 16**8
        row = json.dumps({"messages": messages}, ensure_ascii=False)
        parts["test" if drawn < said["held_out"] else "train"].append(row)
    for name, rows in parts.items():
        common.write(said["work"] / f"{name}.jsonl", "".join(row + "\n" for row in rows))
    written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in bad)
    common.write(said["work"] / "bad_rows.jsonl", written)
    print(f"data: {len(good)} rows are right, {len(bad)} are not (work/bad_rows.jsonl)")
    for row in bad[:10]:
        print(f"  line {row['line']}: {row['why']}")
    print(f"split: {len(parts['train'])} to learn from, {len(parts['test'])} held out")
    if not all(parts.values()):
        raise SystemExit("one of the two parts is empty: more rows are needed, or another `held_out` in config.toml.")


if __name__ == "__main__":
    main()
