"""Rows of files: split, numbered and bounded, wherever blocks and lines happen to end."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from fixtures.spend_logs import parquet, row

from orchestration.config import LimitSettings, SourceSettings
from orchestration.core.refusals import RefusedError
from orchestration.landing import rows as rows_module
from orchestration.landing.files import LandedFile
from orchestration.landing.rows import Row, read_document_of, read_rows

LIMITS = LimitSettings(line_bytes=64)


def landed(folder: Path, name: str, data: bytes) -> LandedFile:
    path = folder / name
    path.write_bytes(data)
    status = path.lstat()
    return LandedFile(
        path=path,
        name=f"logs/{name}",
        source=SourceSettings(name="logs", kind="litellm_spend_logs"),
        kinds=("litellm_spend_logs",),
        size=status.st_size,
        changed_ns=status.st_mtime_ns,
    )


def read(folder: Path, name: str, data: bytes, limits: LimitSettings = LIMITS) -> list[Row]:
    return list(read_rows(landed(folder, name, data), limits))


def shape(rows: list[Row]) -> list[tuple[int, object]]:
    """(line, value or code) of each row."""
    return [(each.line, each.refusal.code if each.refusal else each.value) for each in rows]


def code_of(folder: Path, name: str, data: bytes, limits: LimitSettings = LIMITS) -> str:
    with pytest.raises(RefusedError) as refused:
        read(folder, name, data, limits)
    return refused.value.refusal.code


@pytest.fixture(params=[1, 2, 3, 7, 2**20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How many bytes are read at a time: whatever it is, the rows are the same."""
    monkeypatch.setattr(rows_module, "_BLOCK", request.param)
    return request.param


# ---------------------------------------------------------------- lines


def test_lines_end_in_lf_crlf_or_cr(tmp_path: Path, block: int) -> None:
    data = b'{"a":1}\n{"a":2}\r\n{"a":3}\r{"a":4}\r\r\n\n{"a":5}'

    found = shape(read(tmp_path, "x.jsonl", data))

    assert found == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3}), (4, {"a": 4}), (7, {"a": 5})]


def test_other_separators_stand_inside_a_line(tmp_path: Path, block: int) -> None:
    text = '{"a": "x\u2028y\u0085z\u000b"}'.replace("\u000b", "\\u000b") + "\n"

    assert shape(read(tmp_path, "x.jsonl", text.encode())) == [(1, {"a": "x\u2028y\x85z\x0b"})]


def test_a_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path, block: int) -> None:
    assert shape(read(tmp_path, "x.jsonl", b'\xef\xbb\xbf{"a":1}\n')) == [(1, {"a": 1})]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(
    end: bytes, tmp_path: Path, block: int
) -> None:
    fits = b'{"a":"' + b"x" * (64 - 8) + b'"}'
    above = fits.replace(b"xx", b"xxx", 1)
    far_above = b'{"a":"' + b"y" * 5000 + b'"}'

    found = shape(read(tmp_path, "x.jsonl", end.join([fits, above, far_above, fits])))

    assert [len(fits), len(above)] == [64, 65]
    assert [code for _, code in found[1:3]] == ["line_too_long", "line_too_long"]
    assert [line for line, _ in found] == [1, 2, 3, 4]
    assert found[0][1] == found[3][1] == {"a": "x" * 56}


def test_a_refused_line_is_known_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    found = read(tmp_path, "x.jsonl", b'{"a":1}\r\n{broken \r\n')

    assert found[1].sha256() == hashlib.sha256(b"{broken ").hexdigest()
    assert found[0].sha256() == hashlib.sha256(b'{"a":1}').hexdigest()


def test_lines_without_any_object_are_given_up_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_LINES_IN_DOUBT", 10)

    assert code_of(tmp_path, "x.jsonl", b"text\n" * 1000) == "not_json_lines"


@pytest.mark.parametrize(
    "data",
    [b'{\n "a": 1\n}\n', b'{\n "a": [\n  "b",\n  5,\n  {}\n ]\n}\n', b"5\n6\n", b"<html>\n{}\n"],
)
def test_a_file_without_a_line_that_is_an_object_is_not_json_lines(
    data: bytes, tmp_path: Path
) -> None:
    assert code_of(tmp_path, "x.jsonl", data) == "not_json_lines"


def test_bad_lines_before_the_first_good_one_are_kept_in_order(tmp_path: Path) -> None:
    found = shape(read(tmp_path, "x.jsonl", b'text\n5\n{"a":1}\n{bad\n'))

    assert found == [(1, "invalid_json"), (2, 5), (3, {"a": 1}), (4, "invalid_json")]


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_a_list_is_a_row_for_each_element(name: str, tmp_path: Path, block: int) -> None:
    data = b'\n [{"a": 1},\n {"a": 2, "a": 3}, 5,\n {"a": "\\u0000"}]\n'

    found = shape(read(tmp_path, name, data))

    assert found == [(1, {"a": 1}), (2, "duplicate_json_key"), (3, 5), (4, "bad_encoding")]


def test_a_list_on_one_line_may_be_longer_than_a_line(tmp_path: Path) -> None:
    data = json.dumps([{"a": n} for n in range(100)]).encode()

    assert len(read(tmp_path, "x.jsonl", data)) == 100


def test_a_page_is_its_data(tmp_path: Path) -> None:
    data = b'{"data": [{"a": 1}], "total": 1, "page": 1}'

    assert shape(read(tmp_path, "x.json", data)) == [(1, {"a": 1})]


def test_lines_may_begin_with_a_list(tmp_path: Path) -> None:
    assert shape(read(tmp_path, "x.jsonl", b'[1]\n{"a":1}\n')) == [(1, [1]), (2, {"a": 1})]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"5", "schema_mismatch"),
        (b'"text"', "schema_mismatch"),
        (b"[1, 2", "invalid_json"),
        (b'{"a": 1}\n{"a": 2}', "invalid_json"),
        (b'{"data": [], "data": [1]}', "duplicate_json_key"),
        (b'["\xff"]', "encoding"),
        ("[1]".encode("utf-16"), "encoding"),
    ],
)
def test_a_document_that_holds_no_rows_is_refused(data: bytes, code: str, tmp_path: Path) -> None:
    assert code_of(tmp_path, "x.json", data) == code


def test_an_empty_document_is_none(tmp_path: Path) -> None:
    assert read_document_of(landed(tmp_path, "x.json", b" \n"), LIMITS) is None


# ---------------------------------------------------------------- archives


@pytest.mark.parametrize("size", [1, 99, 100, 101, 5000])
@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_an_archive_inflates_up_to_its_limit(ending: str, size: int, tmp_path: Path) -> None:
    limits = LimitSettings(inflated_bytes=100, inflation_ratio=1, line_bytes=64)
    data = b"\n" * size
    packed = gzip.compress(data) if ending == "gz" else zstandard.compress(data)
    name = f"x.jsonl.{ending}"

    if size <= 100:
        assert read(tmp_path, name, packed, limits) == []
    else:
        assert code_of(tmp_path, name, packed, limits) == "decompression_limit"


def test_a_plain_file_has_no_such_limit(tmp_path: Path) -> None:
    limits = LimitSettings(inflated_bytes=100, inflation_ratio=1)

    assert len(read(tmp_path, "x.jsonl", b'{"a":1}\n' * 100, limits)) == 100


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_an_archive_cut_anywhere_is_refused(ending: str, tmp_path: Path) -> None:
    data = b"".join(b'{"a":%d}\n' % n for n in range(200))
    packed = gzip.compress(data) if ending == "gz" else zstandard.compress(data)

    for cut in range(1, len(packed), 7):
        assert code_of(tmp_path, f"x.jsonl.{ending}", packed[:cut]) == "bad_gzip"


# ---------------------------------------------------------------- tables


def columns_of(folder: Path, name: str, data: bytes) -> list[str]:
    heard: list[str] = []
    list(read_rows(landed(folder, name, data), LIMITS, columns_found=heard.extend))
    return heard


def test_columns_are_heard_of_even_without_rows(tmp_path: Path) -> None:
    assert columns_of(tmp_path, "x.csv", b"\xef\xbb\xbf a ,b\r\n") == ["a", "b"]
    assert columns_of(tmp_path, "x.csv", b"") == []
    assert columns_of(tmp_path, "x.parquet", parquet(row(1)))[:2] == ["request_id", "call_type"]


def test_records_are_numbered_by_the_line_they_begin_on(tmp_path: Path) -> None:
    data = b'a,b\n1,"x\ny"\n\n2,z\n3\n,\n'

    found = shape(read(tmp_path, "x.csv", data))

    assert found == [
        (2, {"a": "1", "b": "x\ny"}),
        (5, {"a": "2", "b": "z"}),
        (6, "column_count"),
        (7, {"a": None, "b": None}),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'a,b\n1,"x\n', "unclosed_quote"),
        (b'a,b\n1,"x"y\n', "unclosed_quote"),
        (b"a,b,a\n", "duplicate_header"),
        (b"a,b\n\xff,1\n", "encoding"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(data: bytes, code: str, tmp_path: Path) -> None:
    assert code_of(tmp_path, "x.csv", data) == code


def test_a_record_above_the_limit_is_refused_alone(tmp_path: Path) -> None:
    data = b'a,b\n1,"' + b"x" * 200_000 + b'"\n2,y\n'

    assert shape(read(tmp_path, "x.csv", data)) == [
        (2, "line_too_long"),
        (3, {"a": "2", "b": "y"}),
    ]


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path, "x.xlsx", b"PK") == "unknown_format"
