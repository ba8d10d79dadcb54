"""A large file of lines is read by SQL: raw, ledger, flags and quarantine are as read strictly."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from fixtures.hostile_files import HostileFile, hostile_files
from fixtures.loader_homes import LoaderHome
from fixtures.spend_logs import lines, parquet, row, with_text

from orchestration.warehouse import load
from orchestration.warehouse.spend_log_lines import SpendLogLines

NOTES = {
    "ledger": "select * exclude (file_changed_ns, evidence_size, evidence_changed_ns)"
    " from audit.load_batches order by all",
    "quarantine": "select * from audit.quarantine order by all",
    "flags": "select * from audit.row_flags order by all",
    "days": "select * from audit.touched_days order by all",
    "rows": "select * from raw.litellm__spend_logs order by all",
    "parts": "select * from raw.litellm__batch_usage order by all",
}
LINES = [each for each in hostile_files() if each.name.endswith((".jsonl", ".parquet"))]
ZONED, NAIVE = pa.timestamp("us", "UTC"), pa.timestamp("ns")
COLUMNS = {
    "typed": {"startTime": ZONED, "endTime": NAIVE, "spend": pa.float64()},
    "decimal": {
        "startTime": pa.timestamp("ms", "America/New_York"),
        "spend": pa.decimal128(24, 12),
    },
    "texts": {"spend": pa.float64(), "prompt_tokens": pa.int32(), "end_user": pa.large_string()},
    "dates": {"spend": pa.float64(), "completionStartTime": pa.date32()},
}


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.landing.files.SETTLE_SECONDS", 0)


def mixed_log() -> bytes:
    """A large log with a few of everything a row can be."""
    usage = {"prompt_tokens": 30, "batch_usage_by_model": {"m-a": {"prompt_tokens": 10}}}
    metadata = {"user_api_key_alias": "k", "usage_object": {"prompt_tokens": 100}}
    rows: list[Any] = [row(n, metadata=metadata) for n in range(400)]
    rows += [row(n, metadata=metadata) for n in range(0, 400, 50)]
    rows += [row(n, metadata=metadata, model="other") for n in range(0, 400, 80)]
    rows += [row(n, call_type="completion", request_id=f"x-{n}") for n in range(0, 400, 90)]
    rows += [row(500, spend=-1), row(501, startTime="yesterday"), row(502, api_key="sk-raw-key-1")]
    rows += [row(503, metadata={"usage_object": usage}), row(504, surprise=1), b"{}", b"", b"{"]
    rows += [with_text(row(505), "spend", "1e-19"), row(506, status="failure", spend=None)]
    return lines(*rows, *(row(n, request_tags=[f"job:{n}"]) for n in range(600, 900)))


def mixed_table(types: dict[str, pa.DataType]) -> bytes:
    """The rows of a large export as Parquet, with a few of everything a value can be."""
    usage = {"usage_object": {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 3}}}
    rows = [row(n, metadata={**usage, "user_api_key_alias": "k"}) for n in range(300)]
    rows += [row(n, metadata=usage) for n in range(0, 300, 50)]
    rows += [row(n, model="other") for n in range(0, 300, 80)]
    rows += [row(400 + n, metadata=text) for n, text in enumerate(METADATA)]
    rows += [row(500 + n, model=text, request_id=f"t-{n}") for n, text in enumerate(TEXTS)]
    rows += [row(600 + n, spend=spend) for n, spend in enumerate(SPENDS)]
    rows += [row(700, spend=None, status="failure"), row(701, request_tags='["job:1", "env:prod"]')]
    rows += [row(702, api_key="sk-raw-key-1"), row(703, request_tags="null"), row(704, user="7")]
    for each in rows:
        for name, kind in types.items():
            each[name] = _typed(each[name], kind)
    return parquet(*rows, schema=types)


METADATA = (
    "",
    "null",
    "[]",
    '"text"',
    "{broken",
    '{"usage_object":\n {"prompt_tokens": 5}}',
    '{"a": 1, "a": 2}',
    '{"usage_object": {"prompt_tokens": NaN}}',
    '{"user_api_key_alias": "one\ntwo"}',
    '{"user_api_key_alias": "{"}',
    '{"user_api_key_alias": "caf\\u00e9"}',
    '{"unheard_of": {"prompt": "hello"}}',
    ' {"user_api_key_alias": "k"}',
)
TEXTS = (
    "",
    "a{b",
    'say "hi"',
    "line\nfeed",
    "nul\x00",
    "é" * 200,
    "[x]",
    "1.5",
    "sk-abcdef1234567890",
)
SPENDS = (0, 1e-07, 0.1 + 0.2, 2.5e-05, 123456.75, 1e300, -1, float("nan"), float("inf"))


def _typed(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind) and value is not None:
        return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
    if pa.types.is_decimal(kind) and value is not None:
        number = Decimal(repr(value))
        return round(number, 12) if number.is_finite() and number < 10**11 else None
    return value


@pytest.mark.parametrize("types", COLUMNS)
def test_a_parquet_export_loads_the_same_by_sql(
    loader_home: LoaderHome,
    second_loader_home: LoaderHome,
    monkeypatch: pytest.MonkeyPatch,
    types: str,
) -> None:
    for home in (loader_home, second_loader_home):
        home.drop("export.parquet", mixed_table(COLUMNS[types]))
    left: list[int] = []
    stage = SpendLogLines.stage

    def counted(reader: SpendLogLines, blocks: Any) -> Any:
        others = stage(reader, blocks)
        left.append(len(others))
        return others

    monkeypatch.setattr(SpendLogLines, "stage", counted)

    by_sql, strictly = load_both_ways(loader_home, second_loader_home, monkeypatch)

    assert by_sql == strictly
    assert len(by_sql["rows"]) > 310
    # SQL took the plain rows itself; a column of dates leaves the file to the strict reader.
    if types == "dates":
        assert not left
    else:
        assert len(left) == 1
        assert 0 < left[0] < 40


def load_both_ways(
    by_sql: LoaderHome, strictly: LoaderHome, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What SQL makes of a file while its hash is taken, and the strict reader behind the hash."""
    for size in ("LINES_FROM_BYTES", "LONG_FILE_BYTES"):
        monkeypatch.setattr(load, size, 0)
    by_sql.load()
    for size in ("LINES_FROM_BYTES", "LONG_FILE_BYTES"):
        monkeypatch.setattr(load, size, 2**62)
    strictly.load()
    return by_sql.queries(NOTES), strictly.queries(NOTES)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_log_loads_the_same_by_sql(
    loader_home: LoaderHome,
    second_loader_home: LoaderHome,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    data = mixed_log()
    for home in (loader_home, second_loader_home):
        home.drop(f"log.{ending}", gzip.compress(data, mtime=0) if ending.endswith("gz") else data)

    by_sql, strictly = load_both_ways(loader_home, second_loader_home, monkeypatch)

    assert by_sql == strictly
    assert len(by_sql["rows"]) > 700


def test_a_long_log_that_the_ledger_has_is_not_read_to_its_end(
    loader_home: LoaderHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("LINES_FROM_BYTES", "LONG_FILE_BYTES"):
        monkeypatch.setattr(load, size, 0)
    # A group for every block, and a hash that is always there in time.
    monkeypatch.setattr(load, "CHUNK_BYTES", 1)
    monkeypatch.setattr(load._Hashing, "stops_reading", lambda hashing: hashing.is_needless)
    staged: list[int] = []
    stage = SpendLogLines.stage

    def counted(reader: SpendLogLines, blocks: Any) -> Any:
        staged.append(len(blocks))
        return stage(reader, blocks)

    monkeypatch.setattr(SpendLogLines, "stage", counted)
    long = lines(*(row(n, metadata={"note": "x" * 2000}) for n in range(1000)))
    loader_home.drop("log.jsonl", long)
    loader_home.load()
    rows, groups = loader_home.raw_rows(), len(staged)
    loader_home.drop("again.jsonl", long)

    (batch,) = loader_home.load().batches

    assert (batch.status, batch.rows_already_known) == ("already_known", 1000)
    assert loader_home.raw_rows() == rows
    assert groups > 1
    assert len(staged) == groups + 1


def test_evidence_of_a_log_restores_it(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    loader_home.drop("log.jsonl", mixed_log())
    loader_home.load()
    evidence = next(loader_home.folder().glob("*.scrubbed.parquet"))
    second_loader_home.drop(evidence.name, evidence.read_bytes())

    second_loader_home.load()

    assert second_loader_home.raw_rows() == loader_home.raw_rows()
    for name in ("quarantine", "flags"):
        assert second_loader_home.query(NOTES[name]) == loader_home.query(NOTES[name])


def test_hostile_lines_end_the_same_by_sql(
    loader_home: LoaderHome, second_loader_home: LoaderHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in (loader_home, second_loader_home):
        for file in LINES:
            _drop(home, file)

    by_sql, strictly = load_both_ways(loader_home, second_loader_home, monkeypatch)

    assert by_sql == strictly


def _drop(home: LoaderHome, file: HostileFile) -> None:
    home.drop(file.name, file.data, source=file.source)
