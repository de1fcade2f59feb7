"""A learner's own data: every row comes out right or named, none is lost, and both sides of the split share nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from course_utils.text import near_copies, readers
from course_utils.text.columns import LAYOUTS, QUESTION, Layout, detect, read_row, read_transcript
from course_utils.text.data_check import check_data, example, first_rows, histogram, read_part, row_lengths
from course_utils.text.deduplication import jaccard
from course_utils.text.documents import DataError
from course_utils.text.readers import read_records
from course_utils.text.splits import split_rows
from course_utils.text.tokenizer import encode_plain, load_tokenizer
from course_utils.text.word_cache import SPLITS, WordCache

SHIPPED = Path(__file__).parents[1] / "course_utils/pretrained/weights/instruct"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(SHIPPED)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def seen(path: Path, **options) -> list[tuple[int, object, str]]:
    return [(record.line, record.value, record.problem) for record in read_records(path, **options)]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ------------------------------------------------------------------------------------------------ reading


def test_line_ends_of_three_kinds_and_a_byte_order_mark(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\n\n{"text": "c"}\r{"text": "d"}\r\r\n{"text": "e"}',
    )
    found = seen(path)
    assert [value["text"] for _, value, _ in found] == list("abcde")
    assert [line for line, _, _ in found] == [1, 2, 4, 5, 7]
    assert not any(problem for *_, problem in found)
    old = write(tmp_path / "old.jsonl", b'{"text": "a"}\r{"text": "b"}\r')
    assert [(line, value["text"]) for line, value, _ in seen(old)] == [(1, "a"), (2, "b")]


def test_signs_that_python_takes_for_line_ends_do_not_end_a_line(tmp_path):
    path = write(tmp_path / "a.jsonl", lines({"text": "a\u2028b\x85c\x0bd"}, {"text": "e"}))
    assert [value["text"] for _, value, _ in seen(path)] == ["a\u2028b\x85c\x0bd", "e"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "a", "text": "b"}', "the key 'text' comes twice"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' comes twice"),
        (b'{"text": NaN}', "NaN is no number"),
        (b'{"text": "a"', "no JSON: .* at character 14"),
        (b'{"text": "caf\xe9"}', "no UTF-8: byte 14 is 0xe9"),
        (rb'{"text": "\ud83d"}', "lone surrogate"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"text": ' + b"9" * 5_000 + b"}", "no JSON: Exceeds the limit"),
        (b'{"text": "a"} {"text": "b"}', "no JSON: Extra data"),
    ],
)
def test_lines_that_cannot_be_read_are_named_and_kept(tmp_path, line, says):
    path = write(tmp_path / "a.jsonl", b'{"text": "x"}\n' + line + b'\n{"text": "y"}\n')
    good, bad, last = read_records(path)
    assert (good.value, last.value) == ({"text": "x"}, {"text": "y"})
    assert bad.line == 2
    assert bad.raw == line + b"\n"
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(bad.problem)


def test_pairs_of_surrogates_are_characters(tmp_path):
    assert seen(write(tmp_path / "a.jsonl", rb'{"text": "\ud83d\ude00"}'))[0][1] == {"text": "\U0001f600"}


def test_a_line_that_is_too_long_is_kept_in_pieces(tmp_path):
    long = b'{"text": "' + b"x" * 5_000_000 + b'"}\n'
    path = write(tmp_path / "a.jsonl", b'{"text": "a"}\n' + long + b'{"text": "b"}')
    found = []
    for record in read_records(path, limit=1_000):
        raw = record.raw if isinstance(record.raw, bytes) else b"".join(record.raw)
        found.append((record.line, raw, record.problem))
    assert found[1] == (2, long, "longer than 1,000 bytes")
    assert [line for line, *_ in found] == [1, 2, 3]
    assert [line for line, *_ in seen(path, limit=1_000)] == [1, 2, 3]  # and if nobody asks for the pieces


def test_a_last_line_that_is_cut_off(tmp_path):
    assert "cut off?" in seen(write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b'))[1][2]


@pytest.mark.parametrize("text", ['[{"text": "a"}, {"text": "b"}]', '\ufeff[\n{"text": "a"}\n,\n{"text": "b"}\n]\n'])
def test_a_json_array_is_read_row_by_row(tmp_path, text, monkeypatch):
    path = write(tmp_path / "a.json", text)
    for size in (2**20, 1, 3):
        monkeypatch.setattr(readers, "CHUNK", size)
        assert [(r.value["text"], r.problem) for r in readers._json_array(path, 1_000)] == [("a", ""), ("b", "")]


def test_the_other_shapes_of_json(tmp_path):
    rows = [{"text": "a"}, {"text": "b"}]
    for text in (json.dumps({"version": 1, "data": rows}), json.dumps({"data": rows}, indent=2), lines(*rows)):
        assert [value for _, value, _ in seen(write(tmp_path / "a.json", text))] == rows


@pytest.mark.parametrize("size", [2**20, 16])
def test_a_json_file_that_is_cut_off_gives_its_whole_rows_and_names_the_rest(tmp_path, monkeypatch, size):
    monkeypatch.setattr(readers, "CHUNK", size)
    path = write(tmp_path / "a.json", '[\n {"text": "a"},\n {"text": "b"},\n {"text": "c')
    *whole, (line, _, why) = [(r.line, r.value, r.problem) for r in readers._json_array(path, 10_000)]
    assert [(n, value["text"]) for n, value, _ in whole] == [(2, "a"), (3, "b")]
    assert line == 4 and "is the file cut off?" in why
    rest = list(readers._json_array(path, 10_000))
    kept = b""
    for record in readers._json_array(path, 10_000):
        kept = record.raw if isinstance(record.raw, bytes) else b"".join(record.raw)
    assert kept == b'{"text": "c' and len(rest) == 3
    ends = write(tmp_path / "b.json", '[{"text": "a"}')
    assert "before the ]" in seen(ends)[-1][2]
    more = write(tmp_path / "c.json", '[{"text": "a"}] {"text": "b"}')
    assert "after the end" in seen(more)[-1][2]


def test_bad_rows_inside_an_array_are_named(tmp_path):
    text = '[{"a": 1, "a": 2},\n{"text": NaN},\n7,\n{"text": "b"}]'
    found = seen(write(tmp_path / "a.json", text))
    assert [line for line, *_ in found] == [1, 2, 3, 4]
    assert "comes twice" in found[0][2] and "NaN" in found[1][2]
    assert found[2][1:] == (7, "") and found[3][1] == {"text": "b"}


def test_csv_with_quoted_line_ends_and_ragged_rows(tmp_path):
    text = '\ufeffquestion,answer\r\n"one\nline, two",b\r\nshort\r\n"a, b",c,d\r\nx,"say ""y"""\r\n'
    records = list(read_records(write(tmp_path / "a.csv", text)))
    assert records[0].value == {"question": "one\nline, two", "answer": "b"}
    assert [r.line for r in records] == [2, 4, 5, 6]
    assert "1 fields, where the header has 2" in records[1].problem
    assert "3 fields" in records[2].problem and records[2].raw == b'"a, b",c,d\r\n'
    assert records[3].value == {"question": "x", "answer": 'say "y"'}


def test_csv_whose_quotes_do_not_close_names_all_that_they_swallow(tmp_path):
    records = list(read_records(write(tmp_path / "a.csv", 'q,a\n1,"x\n2,y\n3,z\n')))
    assert len(records) == 1 and records[0].line == 2
    assert "up to line 4" in records[0].problem and records[0].raw == b'1,"x\n2,y\n3,z\n'


def test_csv_that_is_no_utf8_is_kept_byte_by_byte(tmp_path):
    bad = next(iter(read_records(write(tmp_path / "a.csv", b"q,a\ncaf\xe9,b\n"))))
    assert "no UTF-8: byte 4 is 0xe9" in bad.problem and bad.raw == b"caf\xe9,b\n"


def test_other_delimiters(tmp_path):
    for name, sign in (("a.csv", ";"), ("b.tsv", "\t"), ("c.csv", "|")):
        assert seen(write(tmp_path / name, f"q{sign}a\n1,5{sign}2\n"))[0][1] == {"q": "1,5", "a": "2"}


@pytest.mark.parametrize("head", ["a,a\n1,2\n", "a,\n1,2\n"])
def test_a_header_must_name_each_column_once(tmp_path, head):
    with pytest.raises(DataError, match="must name the columns, each once"):
        seen(write(tmp_path / "a.csv", head))


def test_parquet_with_nested_lists_and_a_side_file_of_the_same_columns(tmp_path, tokenizer):
    import pyarrow as pa
    import pyarrow.parquet as pq

    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    rows = [chat, chat[:1], [], None, [{"role": "user", "content": "Bye"}, chat[1]]]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": rows, "n": [1, 2, 3, 4, 5]}), path)
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)), share=0.5)
    assert (found.rows, found.good, found.bad) == (5, 2, 3)
    assert found.problems[0].startswith("row 2: no message is the assistant's")
    kept = pq.read_table(tmp_path / "out/rejected/a.parquet")
    assert kept.column("n").to_pylist() == [2, 3, 4] and kept.schema == pq.read_table(path).schema
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        seen(write(tmp_path / "b.parquet", path.read_bytes()[:-100]))


def test_text_has_documents_between_blank_lines(tmp_path):
    found = seen(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\ntwo\r\n\r\n \nthree\n\n\xff\n"))
    assert found[:2] == [(1, {"text": "one\ntwo"}, ""), (5, {"text": "three"}, "")]
    assert found[2][0] == 7 and "no UTF-8" in found[2][2]
    long = write(tmp_path / "b.txt", "one\ntwo\nthree\nfour\n\nfive\n")
    assert [(line, bool(problem)) for line, _, problem in seen(long, limit=12)] == [(1, True), (4, True), (6, False)]


def test_a_folder_is_read_file_by_file_and_names_what_it_leaves_out(tmp_path, tokenizer):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        write(folder / f"{number}.txt", "\n\n".join(f"Text {number} says {letter * 9}." for letter in "abc"))
    write(folder / "deep/z.jsonl", '{"text": 5}\n')
    write(folder / "notes.pdf", "x")
    write(folder / ".hidden.txt", "x")
    found = check_data(folder, tmp_path / "out", tokenizer, detect(first_rows(folder)), share=0.34)
    assert (found.good, found.bad, found.largest_group) == (18, 1, 3)  # what is in one file stays together
    assert found.problems[0].startswith("deep/z.jsonl, line 1: 'text' is 5")
    assert found.notes == ["not read, because of its ending: notes.pdf"]
    assert (tmp_path / "out/rejected/deep/z.jsonl").read_text() == '{"text": 5}\n'


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xlsx", b"PK", "ends in '.xlsx'"),
        ("a.jsonl", "x".encode("utf-16"), "is UTF-16"),
        ("a.jsonl", b"\x1f\x8b\x08\x00", "compressed"),
        ("a.csv", b"PK\x03\x04", "zip archive or a spreadsheet"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, name, content, says):
    with pytest.raises(DataError, match=says):
        readers.kind_of(write(tmp_path / name, content))


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="is not there"):
        readers.files_of(tmp_path / "no.jsonl")
    with pytest.raises(DataError, match="has no file that ends in"):
        readers.files_of(tmp_path)
    with pytest.raises(DataError, match="no row that can be read .it is empty"):
        first_rows(write(tmp_path / "a.jsonl", ""))
    with pytest.raises(DataError, match="no row that can be read .line 1: no JSON"):
        first_rows(write(tmp_path / "a.jsonl", "{"))


def kept(path: Path, **options) -> bytes:
    """All that the records of a file hold, without white space."""
    raws = (record.raw for record in read_records(path, **options))
    return b"".join(b"".join((raw if isinstance(raw, bytes) else b"".join(raw)).split()) for raw in raws)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_whatever_is_in_a_file_comes_out_of_it(tmp_path, name):
    rng = random.Random(name)
    parts = [
        b'{"text": "a"}',
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b'"',
        b",",
        b"\xff",
        "é".encode(),
        b"[",
        b"\n\n",
        b"x" * 40,
        b"\0",
    ]
    head = b"q,a\n" if name == "a.csv" else b""
    for _ in range(300):
        content = b"".join(rng.choices(parts, k=rng.randint(1, 12)))
        path = write(tmp_path / name, head + content)
        assert kept(path, limit=30) == b"".join(content.split()), content


# ------------------------------------------------------------------------------------------------ columns

USER, SAID = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
SHAREGPT = [
    {"from": "system", "value": "Be kind."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello."},
]
HH = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Human: is a word\n\nAssistant: {}"


@pytest.mark.parametrize(
    ("row", "name", "read"),
    [
        ({"messages": [USER, SAID]}, "chat", {"messages": [USER, SAID]}),
        ({"conversations": SHAREGPT}, "chat", {"messages": [{"role": "system", "content": "Be kind."}, USER, SAID]}),
        ({"instruction": "Hi", "input": "", "output": "Hello."}, "instruction", {"messages": [USER, SAID]}),
        ({"Instruction": "Hi", "Response": "Hello."}, "instruction", {"messages": [USER, SAID]}),
        ({"prompt": "Hi", "completion": "Hello."}, "prompt-completion", {"messages": [USER, SAID]}),
        ({"prompt": [USER], "completion": [SAID]}, "prompt-completion", {"messages": [USER, SAID]}),
        ({"question": "Hi", "answer": "Hello."}, "question-answer", {"messages": [USER, SAID]}),
        ({"text": "Hello."}, "text", {"text": "Hello."}),
        (
            {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."},
            "preference",
            {"prompt": [USER], "chosen": [SAID], "rejected": [{"role": "assistant", "content": "No."}]},
        ),
        (
            {"chosen": [USER, SAID], "rejected": [USER, {"role": "assistant", "content": "No."}]},
            "preference",
            {"prompt": [USER], "chosen": [SAID], "rejected": [{"role": "assistant", "content": "No."}]},
        ),
        (
            {"prompt": [USER], "chosen": [SAID], "rejected": [{"role": "assistant", "content": "No."}]},
            "preference",
            {"prompt": [USER], "chosen": [SAID], "rejected": [{"role": "assistant", "content": "No."}]},
        ),
        (
            {"prompt": "Hi", "chosen": [USER, SAID], "rejected": [USER, {"role": "assistant", "content": "No."}]},
            "preference",
            {"prompt": [USER], "chosen": [SAID], "rejected": [{"role": "assistant", "content": "No."}]},
        ),
        (
            {"chosen": HH.format("Yes."), "rejected": HH.format("No.")},
            "transcripts",
            {
                "prompt": [USER, SAID, {"role": "user", "content": "Human: is a word"}],
                "chosen": [{"role": "assistant", "content": "Yes."}],
                "rejected": [{"role": "assistant", "content": "No."}],
            },
        ),
    ],
)
def test_each_layout_is_found_and_read(row, name, read):
    layout = detect([row])
    assert layout.name == name
    assert read_row(row, layout) == read
    assert all(text in example(layout, row) for text in ("Hello." if name != "transcripts" else "Yes.",))


def test_labels_are_words_or_whole_numbers():
    rows = [{"text": "Fine day.", "label": 1}, {"text": "Rain.", "label": 0}]
    layout = detect(rows)
    assert read_row(rows[0], layout)["messages"][0]["content"] == f"{QUESTION}\nFine day."
    assert read_row(rows[0], layout)["messages"][1]["content"] == "1"
    named = detect(rows, question="Good?", labels=["no", "yes"])
    assert [m["content"] for m in read_row(rows[0], named)["messages"]] == ["Good?\nFine day.", "yes"]
    for label, says in (
        (2, "2 labels were named"),
        (1.0, "1.0 of type float"),
        (True, "True of type bool"),
        ("", "empty"),
    ):
        with pytest.raises(DataError, match=says):
            read_row({"text": "x", "label": label}, named)


def test_an_input_stands_below_its_instruction():
    row = {"instruction": "Add.", "input": "1 2", "output": "3"}
    assert read_row(row, detect([row]))["messages"][0]["content"] == "Add.\n1 2"
    with pytest.raises(DataError, match="'input' is 7, where a text"):
        read_row(row | {"input": 7}, detect([row]))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": "Hi"}, "where a list is expected"),
        ({"messages": []}, "list of messages is empty"),
        ({"messages": [USER]}, "no message is the assistant's"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, r"message 2 \(assistant\) is empty"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "message 1 has the role 'boss'"),
        ({"messages": [{"role": None, "content": "x"}]}, "message 1 has the role None"),
        ({"messages": [{"text": "x"}]}, "message 1 is .*; it needs role and content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "where a text is expected"),
        ({"messages": None, "text": "x"}, "it has no 'messages' .it has 'text'"),
        ([1, 2], "where an object with named columns is expected"),
        ("x", "where an object with named columns is expected"),
    ],
)
def test_conversations_that_cannot_be_used_are_told_why(row, says):
    with pytest.raises(DataError, match=says):
        read_row(row, Layout("chat", {"messages": "messages"}))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": "a"}, "the same answer"),
        ({"prompt": "Hi", "chosen": "", "rejected": "a"}, "the answer is empty"),
        ({"prompt": "", "chosen": "b", "rejected": "a"}, "the prompt is empty"),
        ({"chosen": "b", "rejected": "a"}, "there is no prompt"),
        ({"prompt": "Hi", "chosen": None, "rejected": "a"}, "no 'chosen'"),
        ({"chosen": [USER, SAID], "rejected": [SAID, SAID]}, "part before their last answer"),
        ({"chosen": [USER, SAID], "rejected": [SAID, USER]}, "rejected side is not a prompt and then an answer"),
    ],
)
def test_comparisons_that_cannot_be_used_are_told_why(row, says):
    with pytest.raises(DataError, match=says):
        read_row(row, Layout("preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}))


def test_whatever_stands_in_a_column_is_read_or_told():
    """No value makes the reader fall over: a row is read, or a DataError says why not."""
    rng = random.Random(0)
    values = [
        None,
        7,
        1.5,
        True,
        "",
        "a",
        [],
        {},
        [1],
        [None],
        {"role": "user"},
        [{}],
        [[]],
        [USER],
        [SAID, 3],
        HH,
        "x\n\nHuman:",
    ]
    values += [
        [{"role": 1, "content": 2}],
        [{"role": "user", "content": None}],
        [{"from": "gpt", "value": {}}],
        [USER, SAID],
    ]
    layouts = [Layout(name, {part: part for part in parts}) for name, parts in LAYOUTS.items()]
    layouts += [Layout("transcripts", {"chosen": "chosen", "rejected": "rejected"})]
    layouts += [Layout("preference", {part: part for part in ("prompt", "chosen", "rejected")})]
    layouts += [Layout("instruction", {part: part for part in ("instruction", "input", "answer")})]
    told = 0
    for _ in range(4_000):
        layout = rng.choice(layouts)
        row = {part: rng.choice(values) for part in layout.columns}
        try:
            assert {*read_row(row, layout)} in ({"text"}, {"messages"}, {"prompt", "chosen", "rejected"})
        except DataError:
            told += 1
    assert 2_000 < told < 4_000


def test_transcripts_must_begin_with_a_turn():
    with pytest.raises(DataError, match="begins with 'Well"):
        read_transcript("Well\n\nHuman: x\n\nAssistant: y")
    with pytest.raises(DataError, match="message 2 .assistant. is empty"):
        read_transcript("\n\nHuman: x\n\nAssistant: ")


def test_columns_that_are_not_known_are_named_and_can_be_given():
    rows = [{"Frage": "Wer?", "Antwort": "Mira.", "id": 3}]
    with pytest.raises(DataError, match="'Frage', 'Antwort', 'id' are none of the layouts.*--columns"):
        detect(rows)
    layout = detect(rows, {"question": "Frage", "answer": "Antwort"})
    assert read_row(rows[0], layout)["messages"][1]["content"] == "Mira."
    assert "question from 'Frage'" in str(layout) and "not used: 'id'" in str(layout)
    with pytest.raises(DataError, match="no column 'Fragen'"):
        detect(rows, {"question": "Fragen", "answer": "Antwort"})
    with pytest.raises(DataError, match="parts query make none of the layouts"):
        detect(rows, {"query": "Frage"})
    with pytest.raises(DataError, match="no column 'x' to group by"):
        detect(rows, {"question": "Frage", "answer": "Antwort"}, group="x")


def test_ids_make_groups_if_they_repeat():
    rows = [{"text": "a", "id": 1}, {"text": "b", "id": 1}, {"text": "c", "id": 2}]
    assert detect(rows).group == "id"
    assert detect(rows[1:]).group is None
    assert detect([row | {"doc_id": row["text"]} for row in rows[1:]]).group == "doc_id"


# ------------------------------------------------------------------------------------------------ tokens


def odd_texts() -> list[str]:
    rng = random.Random(0)
    signs = [*" \n\tab5é.,'日\u200b\u3000\x1c\r\x85\u0301", "  ", " the", "<|end|>", "don't", "1987", "<tool>"]
    made = ["".join(rng.choice(signs) for _ in range(rng.randint(0, 30))) for _ in range(2_000)]
    return ["", " ", "Mira lives in Skarrow. She was born in 1987.", "日本 語", *made]


@pytest.mark.slow
def test_words_are_looked_up_and_the_ids_are_the_same(tokenizer):
    cache, texts = WordCache(tokenizer, limit=500), odd_texts()
    assert cache.by_words
    for _ in range(3):  # new, known, and after the limit
        assert [np.frombuffer(p, np.uint32).tolist() for p in cache.pieces(texts)] == encode_plain(texts, tokenizer)
    ids, lengths = cache.encode(texts[:3])
    assert lengths.tolist() == [0, *map(len, encode_plain(texts[1:3], tokenizer))] and len(ids) == lengths.sum()


@pytest.mark.parametrize("pattern", [None, *sorted(SPLITS)])
def test_so_they_are_with_other_byte_level_tokenizers(pattern):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
        made.normalizer = normalizers.NFC()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    made.train_from_iterator(["the cat and the hat in the house"] * 9, trainer)
    made.add_tokens(["<tool>"])
    tokenizer, texts = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>"), odd_texts()
    cache = WordCache(tokenizer)
    assert cache.by_words
    for _ in range(2):
        assert [np.frombuffer(p, np.uint32).tolist() for p in cache.pieces(texts)] == encode_plain(texts, tokenizer)


def test_tokenizers_that_merge_across_spaces_are_asked_for_the_whole_text():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    made.train_from_iterator(["the cat and the hat"] * 9, trainers.BpeTrainer(vocab_size=99, special_tokens=["<unk>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="<unk>")
    cache = WordCache(tokenizer)
    assert not cache.by_words
    texts = ["the cat and the hat", "the  cat"]
    assert [np.frombuffer(p, np.uint32).tolist() for p in cache.pieces(texts)] == encode_plain(texts, tokenizer)


# ------------------------------------------------------------------------------------------------ near copies and sides


def test_signatures_find_near_copies_and_not_others():
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(3, 8))) for _ in range(400)]
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(200)]
    changed = [text.replace(text.split()[7], "changed") for text in texts]
    plain = [near_copies.plain(text) for text in texts + changed]
    bands, sketch = near_copies.signatures(plain)
    shared = (bands[:200] == bands[200:]).any(1) & ((sketch[:200] == sketch[200:]).sum(1) >= near_copies.LIKELY)
    likeness = [
        jaccard(near_copies.shingles(a), near_copies.shingles(b)) for a, b in zip(plain[:200], plain[200:], strict=True)
    ]
    assert np.mean(likeness) > 0.85
    assert shared.mean() > 0.93
    others = [(bands[i] == bands[i + 1]).any() for i in range(199)]
    assert np.mean(others) < 0.02
    alone = near_copies.signatures(plain[5:6])
    assert (alone[0] == bands[5]).all() and (alone[1] == sketch[5]).all()  # whatever stands beside it


def test_sketches_agree_as_often_as_shingles_are_shared():
    rng = random.Random(1)
    agree, likeness = [], []
    for _ in range(60):
        one, other, third = (" ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(40)) for _ in range(3))
        pair = [near_copies.plain(f"{one} {other}"), near_copies.plain(f"{one} {third}")]
        sketch = near_copies.signatures(pair)[1]
        agree.append((sketch[0] == sketch[1]).mean())
        likeness.append(jaccard(*map(near_copies.shingles, pair)))
    assert abs(np.mean(agree) - np.mean(likeness)) < 0.04


def test_groups_join_over_others():
    groups = near_copies.Groups(6)
    assert groups.unite(np.array([5, 1, 5, 2, 3, 4])) == 1
    assert groups.unite(np.array([0, 1, 2, 2, 3, 1])) == 2
    assert groups.numbers().tolist() == [0, 1, 0, 0, 4, 1]
    asked = []
    assert groups.unite(np.zeros(6), alike=lambda a, b: bool(asked.append((a, b)))) == 0
    assert asked == [(0, 1), (0, 4), (0, 5)]  # not those that are together already


def test_whole_groups_are_held_out():
    groups = np.random.default_rng(0).integers(0, 300, 1_000)
    held_out = split_rows(groups, 0.1, seed=1)
    assert held_out.sum() == 100
    assert not {*groups[held_out]} & {*groups[~held_out]}
    assert (split_rows(groups, 0.1, 1) == held_out).all() and (split_rows(groups, 0.1, 2) != held_out).any()
    large = split_rows(np.r_[np.zeros(500), np.arange(1, 501)], 0.1)
    assert large.sum() == 100 and not large[0]
    with pytest.raises(ValueError, match="100 rows in 1 groups none can be held out"):
        split_rows(np.zeros(100), 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_rows(groups, 1.0)


# ------------------------------------------------------------------------------------------------ the whole check


def rows_of(count: int, length: int = 5) -> list[dict]:
    rng = random.Random(count)
    letters = "abcdefghijklmnop"
    words = ["".join(rng.choices(letters, k=5)) for _ in range(500)]
    return [
        {"question": " ".join(rng.choices(words, k=8)) + "?", "answer": " ".join(rng.choices(words, k=length))}
        for _ in range(count)
    ]


def test_every_row_is_accounted_for_and_nothing_given_is_changed(tmp_path, tokenizer):
    good = rows_of(300)
    bad = [
        '{"question": "x", "answer": ""}\n',
        "no json\r\n",
        '{"question": "x"}\n',
        "[1]\n",
        '{"question": 1, "answer": "a"}\n',
    ]
    rng = random.Random(0)
    every = [json.dumps(row) + "\n" for row in good] + bad
    rng.shuffle(every)
    path = write(tmp_path / "a.jsonl", "".join(every))
    before = path.read_bytes()
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)))
    out = tmp_path / "out"
    assert path.read_bytes() == before
    assert (found.rows, found.good, found.bad) == (305, 300, 5)
    assert (out / "rejected/a.jsonl").read_bytes() == "".join(line for line in every if line in bad).encode()
    named = [json.loads(line) for line in (out / "problems.jsonl").read_text().splitlines()]
    assert [row["line"] for row in named] == [number for number, line in enumerate(every, 1) if line in bad]
    sides = [list(read_part(out, part)) for part in ("train", "held_out")]
    assert (len(sides[0]), len(sides[1])) == (found.train, found.held_out) == (270, 30)
    kept = sorted(row["messages"][0]["content"] for side in sides for row in side)
    assert kept == sorted(row["question"] for row in good)
    assert {p.name for p in out.iterdir()} == {
        "train.jsonl", "held_out.jsonl", "tokens.npy", "ends.npy", "answers.npy", "held_out.npy", "groups.npy",
        "problems.jsonl", "rejected", "check.json",
    }  # fmt: skip


def test_the_tokens_are_those_of_encode_chats(tmp_path, tokenizer):
    from course_utils.text.chat import encode_chats

    chats = [
        [USER, SAID],
        [SAID, USER, SAID],
        [{"role": "system", "content": "日本"}, {"role": "user", "content": "é <|end|>"}, SAID],
    ]
    path = write(tmp_path / "a.jsonl", lines(*({"messages": chat} for chat in chats)))
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)), share=0.4)
    ids, ends, answers = (np.load(tmp_path / f"out/{name}.npy") for name in ("tokens", "ends", "answers"))
    wanted = encode_chats(chats, tokenizer)
    for chat, begin, end in zip(wanted, [0, *ends[:-1]], ends, strict=True):
        assert (ids[begin:end].tolist(), answers[begin:end].tolist()) == chat
    assert found.tokens == len(ids) and row_lengths(tmp_path / "out").tolist() == [len(i) for i, _ in wanted]


def test_a_role_that_the_template_does_not_have_is_named(tmp_path, tokenizer):
    tool = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"name": "x"}]},
        {"role": "tool", "content": "7"},
        SAID,
    ]
    path = write(
        tmp_path / "a.jsonl", lines({"messages": [USER, SAID]}, {"messages": tool}, {"messages": [USER, *tool[2:]]})
    )
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)))
    assert found.good == 1
    assert [p.split(": ", 1)[1] for p in found.problems] == [
        "the tokenizer's chat template has no calls of tools",
        "the tokenizer's chat template has no role 'tool'",
    ]
    assert len((tmp_path / "out/rejected/a.jsonl").read_text().splitlines()) == 2


def test_a_foreign_template_may_know_tools_and_may_refuse_a_row(tmp_path, tokenizer):
    from transformers import PreTrainedTokenizerFast

    foreign = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>", pad_token="<|pad|>"
    )
    foreign.chat_template = (
        "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('the user speaks first') }}{% endif %}"
        "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    )
    rows = [[USER, {"role": "tool", "content": "7"}, SAID], [SAID, USER, SAID]]
    path = write(tmp_path / "a.jsonl", lines(*({"messages": row} for row in rows)))
    found = check_data(path, tmp_path / "out", foreign, detect(first_rows(path)))
    assert found.good == 1 and "the user speaks first" in found.problems[0]
    foreign.chat_template = None
    with pytest.raises(DataError, match="none of the 2 rows.*\n.*no chat template"):
        check_data(path, tmp_path / "none", foreign, detect(first_rows(path)))


def test_rows_that_belong_together_stay_on_one_side(tmp_path, tokenizer):
    rows = rows_of(200, length=40)
    again = [row | {"answer": f"{row['answer']} again"} for row in rows[:40]]  # the same question
    near = [{"question": row["question"] + " please", "answer": row["answer"]} for row in rows[40:80]]
    grouped = [row | {"doc_id": f"d{number // 4}"} for number, row in enumerate(rows)]
    path = write(tmp_path / "a.jsonl", lines(*grouped, *again, *near))
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)), share=0.25)
    assert found.same_prompt == 40
    assert found.near_copies >= 36
    groups, held_out = np.load(tmp_path / "out/groups.npy"), np.load(tmp_path / "out/held_out.npy")
    assert found.groups == len({*groups}) and not {*groups[held_out]} & {*groups[~held_out]}
    assert all(groups[i] == groups[i - i % 4] for i in range(200))
    assert all(groups[200 + i] == groups[i] for i in range(40))


def test_what_is_longer_than_the_model_reads_is_said_before(tmp_path, tokenizer):
    rows = [*rows_of(20), {"question": "Why?", "answer": "word " * 400}, {"question": "why " * 400, "answer": "So."}]
    path = write(tmp_path / "a.jsonl", lines(*rows))
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)), limit=128)
    lengths = row_lengths(tmp_path / "out")
    assert found.over == 2 and found.lost == 1
    assert found.cut == int((lengths - 128).clip(min=0).sum())
    assert "Longer than the 128 tokens that the model reads, counted by row: 2." in found.truncation()
    assert "Of 1 the whole answer lies after it" in found.truncation()


def test_other_scripts_and_long_texts(tmp_path, tokenizer):
    texts = ["日本語の文章です。" * 30, "Текст на другом языке. " * 30, "مرحبا بالعالم " * 30, "a" * 300_000, "🙂" * 50]
    path = write(tmp_path / "a.jsonl", lines(*({"text": text} for text in texts)))
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)), share=0.4)
    assert found.good == 5 and found.groups == 5
    ids, ends = np.load(tmp_path / "out/tokens.npy"), np.load(tmp_path / "out/ends.npy")
    assert [tokenizer.decode(part) for part in np.split(ids, ends[:-1])] == texts


def test_too_few_rows_to_hold_any_out_is_a_note(tmp_path, tokenizer):
    path = write(tmp_path / "a.jsonl", lines({"text": "Only one."}))
    found = check_data(path, tmp_path / "out", tokenizer, detect(first_rows(path)))
    assert found.held_out == 0 and "nothing is held out" in found.notes[0]


def test_the_digest_tells_other_tokens_and_other_borders(tmp_path, tokenizer):
    def digest(*texts: str) -> str:
        path = write(tmp_path / "a.jsonl", lines(*({"text": text} for text in texts)))
        return check_data(
            path, tmp_path / f"out{len(list(tmp_path.iterdir()))}", tokenizer, detect(first_rows(path))
        ).digest

    assert digest("a b", "c") == digest("a b", "c") != digest("a", "b c")


def test_histogram_draws_every_length_once():
    text = histogram([0, 1, 2, 3, 4, 9, 9])
    counts = [int(line.split()[3]) for line in text.splitlines()[1:]]
    assert sum(counts) == 7 and "8 to 15" in text


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def course(*arguments: str) -> int:
    from course_utils.cli import main

    return main(["data", "check", *arguments])


def test_the_command_shows_asks_and_writes(home, capsys, monkeypatch):
    write(home / "a.jsonl", lines(*rows_of(30), {"question": "", "answer": "x"}))
    assert course("a.jsonl") == 1
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert course("a.jsonl") == 0 and not (home / "a-checked").exists()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert course("a.jsonl") == 0
    said = capsys.readouterr().out
    assert "question-answer (question from 'question'" in said and "line 31: 'question' is empty" in said
    page = (home / "a-checked/report.html").read_text()
    assert "alt=" in page and "line 31" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched
    assert course("a.jsonl", "--yes") == 0  # its own folder is replaced
    (home / "other").mkdir()
    assert course("a.jsonl", "--yes", "--out", "other") == 1
    assert "was not made by this command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.jsonl", "--yes"], "is not there"),
        (["hub:someone/something", "--yes"], "COURSE_ONLINE=1"),
        (["a.jsonl", "--yes", "--columns", "question=Frage"], "no column 'Frage'"),
        (["a.jsonl", "--yes", "--columns", "question"], "write which part is which column"),
        (["a.jsonl", "--yes", "--share", "1.5"], "share is 1.5"),
        (["a.jsonl", "--yes", "--tokenizer", "nowhere"], "no folder nowhere"),
        (["a.jsonl", "--yes", "--out", "."], "was not made by this command"),
    ],
)
def test_the_command_says_what_is_wrong(home, capsys, arguments, says):
    write(home / "a.jsonl", lines(*rows_of(5)))
    assert course(*arguments) == 1
    assert says in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chat", "pair", "text"])
def test_training_is_measured_before_and_after_and_kept(home, capsys, kind):
    from course_utils.pretrained import store

    rows = rows_of(80)
    if kind == "pair":
        rows = [{"prompt": r["question"], "chosen": r["answer"], "rejected": "I do not know that."} for r in rows]
    if kind == "text":
        rows = [{"text": r["question"]} for r in rows]
    write(home / "a.jsonl", lines(*rows))
    assert course("a.jsonl", "--yes", "--train", "--steps", "3") == 0, capsys.readouterr().err
    out = home / "a-checked"
    assert course("a.jsonl", "--yes") == 0  # a later check leaves the model
    loaded = store.load("model", root=out)
    assert loaded.card["recipe"]["method"] == ("DPO" if kind == "pair" else "SFT")
    assert loaded.card["figures"]["held_out_rows"] == 8
    assert loaded.card["recipe"]["data"]["digest"] in (out / "MODEL_CARD.md").read_text()
    assert course("a.jsonl", "--yes", "--train", "--steps", "1") == 0 and (out / "model-2").is_dir()
    assert (out / "report.html").read_text().count("alt=") == 2


@pytest.mark.slow
def test_a_base_model_of_ones_own_is_trained_with_its_own_tokenizer(home, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(SHIPPED))
    write(home / "a.jsonl", lines(*rows_of(60)))
    assert course("a.jsonl", "--yes", "--train", "--steps", "1") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"Tokens are counted with: {SHIPPED}; the model reads at most 256." in said
    card = json.loads((home / "a-checked/model/card.json").read_text())
    assert card["base_model"] == str(SHIPPED) and card["recipe"]["from"].startswith(str(SHIPPED))


@pytest.mark.slow
def test_a_disk_that_is_full_costs_the_page_and_nothing_else(home, capsys, monkeypatch):
    from course_utils import files
    from course_utils.pretrained import store

    write(home / "a.jsonl", lines(*rows_of(60)))
    whole = files.atomic_file

    def full(path):
        if Path(path).suffix in (".html", ".md"):
            raise OSError(28, "No space left on device")
        return whole(path)

    monkeypatch.setattr("course_utils.workshop.own_data.files.atomic_file", full)
    assert course("a.jsonl", "--yes", "--train", "--steps", "2") == 1
    said = capsys.readouterr().err
    assert "the report could not be written" in said and "Nothing is lost but the page" in said
    assert store.load("model", root=home / "a-checked").card["figures"]["before"]
    assert not (home / "a-checked/report.html").exists()


@pytest.mark.slow
def test_a_model_that_cannot_be_kept_here_is_kept_elsewhere(home, capsys, monkeypatch):
    from course_utils.pretrained import store

    write(home / "a.jsonl", lines(*rows_of(60)))
    whole = store.save

    def full(name, *rest, root, **more):
        if root == home / "a-checked":
            raise store.StoreError("the disk is full")
        return whole(name, *rest, root=root, **more)

    monkeypatch.setattr(store, "save", full)
    assert course("a.jsonl", "--yes", "--train", "--steps", "2") == 0
    assert "could not be kept in" in capsys.readouterr().out
    assert store.load("model", root=home / "home/own-data").card["figures"]


def test_checked_data_that_cannot_be_written_leave_what_was_there(home, capsys, monkeypatch):
    write(home / "a.jsonl", lines(*rows_of(20)))
    assert course("a.jsonl", "--yes") == 0
    before = (home / "a-checked/data/check.json").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("course_utils.text.data_check._split", full)
    write(home / "a.jsonl", lines(*rows_of(25)))
    assert course("a.jsonl", "--yes") == 1
    assert "could not be written" in capsys.readouterr().err
    assert (home / "a-checked/data/check.json").read_text() == before
    assert not list((home / "a-checked").glob(".*"))


def test_numbers_as_labels_are_said(home, capsys):
    write(home / "a.csv", "text,label\nA fine day,1\nRain,0\n" * 5)
    write(home / "b.jsonl", lines(*({"text": f"Day {n}", "label": n % 2} for n in range(20))))
    assert course("b.jsonl", "--yes") == 0
    assert "--labels bad,good" in capsys.readouterr().out
    assert course("b.jsonl", "--yes", "--labels", "bad,good") == 0
    assert "--labels" not in capsys.readouterr().out
    assert {row["messages"][1]["content"] for row in read_part(home / "b-checked/data", "train")} == {"bad", "good"}
    assert course("a.csv", "--yes") == 0  # in a table they are texts
