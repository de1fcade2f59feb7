"""Files with one JSON value a line."""

from __future__ import annotations

import json

import pytest

from course_utils.evaluation.strict_rows import read_json_rows


def test_a_line_ends_where_json_lines_end_and_nowhere_else(tmp_path):
    """U+2028, U+0085 and form feeds may stand in a string as they are; Python's splitlines would cut there."""
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "one\u2028two"}, {"text": "three\u0085four"}, {"text": "five"}]
    path.write_bytes("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode() + b"\n")
    assert read_json_rows(path, dict, ValueError) == rows


def test_bad_lines_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 3: no JSON"):
        read_json_rows(path, dict, ValueError)
