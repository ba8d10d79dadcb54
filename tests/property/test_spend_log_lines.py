"""Lines read by SQL come out as the strict reader reads them, or are left to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fixtures.spend_logs import key_hash, lines, row
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from orchestration.config import LimitSettings, SourceSettings
from orchestration.core.refusals import CREDENTIAL_HINT, RefusedError, without_secrets
from orchestration.landing.files import LandedFile
from orchestration.landing.kinds import ROW_KINDS
from orchestration.landing.line_blocks import read_line_blocks
from orchestration.landing.rows import Row, read_rows
from orchestration.sources.records import RecordContext
from orchestration.warehouse import staged
from orchestration.warehouse.spend_log_lines import SpendLogLines

KIND = ROW_KINDS["litellm_spend_logs"]
LIMITS = LimitSettings()
CONTEXT = RecordContext(as_of=datetime(2026, 6, 30, 12), closed_until=datetime(2026, 6, 1))  # noqa: DTZ001  # naive UTC
Outcome = tuple[list[tuple[Any, ...]], list[tuple[int, str]]]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "2"}) as opened:
        opened.execute("set TimeZone = 'UTC'")
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


def landed(folder: Path, data: bytes) -> LandedFile:
    path = folder / "log.jsonl"
    path.write_bytes(data)
    source = SourceSettings(name="a", kind="litellm_spend_logs")
    return LandedFile(path, "a/log.jsonl", source, source.file_kinds, len(data), 0)


def read_strictly(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> list[tuple[int, str]]:
    """Stage rows as the strict reader has them; (line, code) of those it refuses."""
    records, codes, refused = [], [], []
    for each in rows:
        try:
            if each.refusal is not None:
                raise RefusedError(each.refusal.code, "")
            if not isinstance(each.value, dict):
                raise RefusedError("not_object", "")
            record = KIND.read(each.value, CONTEXT)
        except RefusedError as error:
            refused.append((each.line, error.refusal.code))
            continue
        records.append((each.line, record.values))
        codes.append(record.codes)
    staged.insert_incoming(connection, KIND.table, records, codes)
    staged.fill_hashes(connection, KIND.table)
    return refused


def staged_rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return connection.execute(
        f"select * from incoming_{KIND.table.name} order by _source_line"
    ).fetchall()


def read_both_ways(
    connection: duckdb.DuckDBPyConnection, file: LandedFile
) -> tuple[Outcome, Outcome, int]:
    """What SQL and the strict reader make of a file together, what the latter alone does, and
    how many lines SQL took."""
    staged.create_incoming(connection, KIND.table)
    reader = SpendLogLines(connection, CONTEXT)
    refused, count = [], 0
    for block in read_line_blocks(file, LIMITS):
        others = reader.stage([block])
        count += block.count - len(others)
        refused += read_strictly(connection, [each for each in others if each is not None])
    together = (staged_rows(connection), refused)

    staged.create_incoming(connection, KIND.table)
    refused = read_strictly(connection, list(read_rows(file, LIMITS)))
    return together, (staged_rows(connection), refused), count


# ---------------------------------------------------------------- rows whose values are written out

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {
        "cached_tokens": 10,
        "audio_tokens": None,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 3},
    },
    "completion_tokens_details": {"reasoning_tokens": 5},
    "cache_read_input_tokens": 12,
    "server_tool_use": {"web_search_requests": 1},
    "service_tier": "default",
    "audio_length_seconds": 1.5,
}
METADATA = {
    "user_api_key_alias": "key 1",
    "user_api_key_team_id": "team-9",
    "user_api_key_team_alias": "Zürich",
    "spend_logs_metadata": {"ticket": "T-1", "env": "prod"},
    "error_information": {"error_code": "429", "error_class": "RateLimitError"},
    "usage_object": USAGE,
    "additional_usage_values": {},
    "cost_breakdown": {"service_tier": None, "data_residency": "eu", "input_cost": 0.001},
    "model_map_information": {"model_map_key": "m", "model_map_value": {"key": "m", "mode": "x"}},
    "attempted_retries": 0,
    "billed_retry_attempt": False,
    "status": "success",
    "applied_guardrails": [],
    "new_setting": None,
}


def full_row(number: int) -> dict[str, Any]:
    tags = ["env:test", "wf:search", "User-Agent: x/1"]
    return row(number, metadata=METADATA, request_tags=tags, updated_at=None, messages="{}")


def _places(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, each in value.items():
        yield (*place, name)
        if isinstance(each, dict):
            yield from _places(each, (*place, name))


PLACES = sorted(_places(full_row(1)))
PLACES += [("currency",), ("surprise",), ("metadata", "surprise"), ("observed_at",)]
PLACES += [("metadata", "usage_object", "batch_usage_by_model"), ("proxy_server_request",)]
PLACES += [("metadata", "spend_logs_metadata", name) for name in ("jira", "cost-center", "it's")]
LITERALS = [
    *('""', "null", "true", "false", "0", "1", "-1", "-0", "7.0", "7.5", "1e2", "1E+2", "-0.0"),
    *("12345678901234567890", "9223372036854775807", "9223372036854775808", "1e400", "1e-400"),
    *("NaN", "nan", "Infinity", "-Infinity", "inf", "+1", "01", ".5", "1.", "0x10", "1_000"),
    *("{}", "[]", '{"a": 1}', '[{"a": 1}]', '["a", 1]', "[NaN]", "[1, ]", '"{}"', '"[]"', '"{"'),
    *("9" * 5000, "[" * 300 + "]" * 300, "[" * 9000 + "]" * 9000),
    *('{"a": 1, "a": 2}', '{"b": {"a": null, "a": null}}', '[{"a": 1, "a": 1}]', "{ }"),
    *('"None"', '" "', '"null"', '"NULL"', '"True"', '"true "', '"TRUE"', '"12"', '"007"', '"1.5"'),
    *('"inf"', '"1e5"', '"-5"', '"{x"', '"[x"', '"a\\"spend\\": 5, "', '"\\u0061b"', '"\\u0000"'),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"tab\\there"', '"sk-abcdefghij"', '"task-abcdefghij"'),
    *('"x\\nsk-abcdefghij"', '"Bearer abc"', '"AKIAABCDEFGHIJKLMNOP"', '"\\u0073k-abcdefghij"'),
    *('"ünï"', '"\\u001f"', f'"{"x" * 70}"', f'"{"x" * 4097}"', '"=1+1"', '"unknown-model"'),
    *('"2026-06-15T10:00:00"', '"2026-06-15 10:00"', '"2026-06-15T10:00:00.1234567Z"'),
    *('"2026-06-15T10:00:00+02:00"', '"2026-06-15T24:00:00Z"', '"2026-02-30T00:00:00Z"'),
    *('"2026-06-30T18:00:00Z"', '"2026-07-09T00:00:00Z"', '"2019-01-01T00:00:00Z"'),
    *('"2026-05-31T23:59:59Z"', '" 2026-06-15T10:00:00Z"', '"2026-06-15T10:00:00.5+00:00"'),
    *('"https://u:p@host/v1?k=1"', '"host/path"', '"u:p@host"', '"failure"', '"get_responses"'),
    *("0.1", "1.5e-05", "0.0062699999999999995", "0.0062418000000000005", "1.2345678901234567e-05"),
    *("0.12345678901234567890123", "99999999999999999999", "1e20", "100000.01", "5E-19", "1.5e-18"),
    *("0.0000000000000000005", "123456789012345.678", "1e-07", "2e3", '"0.5"', '"EUR"', '"usd"'),
    *(f'"{key_hash("k")}"', f'"{key_hash("k").upper()}"', '"litellm-cli"', '"hashed-jwt-x"'),
    *('["env:a", "env:b"]', '["cost-center: x ", ""]', '["sk-abcdefghij"]', f'["{"t" * 4097}"]'),
]
DECIMALS = st.decimals(min_value=0, max_value=10**6, places=20).map(lambda d: f"{d:f}")
FLOATS = st.floats(min_value=0, max_value=10**5, allow_subnormal=False).map(repr)
STRINGS = st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False))
ESCAPED = st.text(max_size=12).map(json.dumps)
literals = st.one_of(st.sampled_from(LITERALS), DECIMALS, FLOATS, STRINGS, ESCAPED)
money = st.one_of(DECIMALS, FLOATS, FLOATS.map(lambda text: text + "1"))
MARK = "@literal-%d@"


def _put(values: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for name in place[:-1]:
        if not isinstance(values.get(name), dict):
            return
        values = values[name]
    values[place[-1]] = value


@st.composite
def written_lines(draw: st.DrawFn) -> bytes:
    """A row some of whose values are literals, some keys doubled or gone, and the text damaged."""
    values = json.loads(json.dumps(full_row(draw(st.integers(0, 30)))))
    put: list[str] = []
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
        _put(values, place, MARK % len(put))
        put.append(draw(literals))
    if draw(st.booleans()):
        values["spend"] = MARK % len(put)
        put.append(draw(money))
    compact = draw(st.booleans())
    text = json.dumps(
        values, ensure_ascii=draw(st.booleans()), separators=(",", ":") if compact else None
    )
    for number, literal in enumerate(put):
        text = text.replace(f'"{MARK % number}"', literal)
    return draw(damaged(text)).encode("utf-8", "surrogatepass")


def damaged(text: str) -> st.SearchStrategy[str]:
    """The text, mostly as it is; else with one thing wrong about its JSON."""
    commas = [i for i, c in enumerate(text) if c == ","]
    closings = [i for i, c in enumerate(text) if c in "}]"]
    return st.one_of(
        *[st.just(text)] * 6,
        st.sampled_from(closings).map(lambda i: f"{text[:i]},{text[i:]}"),
        st.sampled_from(closings).map(lambda i: f"{text[:i]} {text[i:]}"),
        st.sampled_from(closings).map(lambda i: f"{text[:i]}, {text[i:]}"),
        st.sampled_from(commas).map(lambda i: f'{text[:i]},"spend": 7{text[i:]}'),
        st.sampled_from(commas).map(lambda i: f'{text[:i]},"model":null{text[i:]}'),
        st.sampled_from(commas).map(lambda i: f'{text[:i]},"{{}}":{{}}{text[i:]}'),
        st.sampled_from(commas).map(lambda i: f"{text[:i]},{text[i:]}"),
        st.integers(1, len(text)).map(lambda i: text[:i]),
        st.integers(0, len(text) - 1).map(lambda i: text[:i] + text[i + 1 :]),
        st.sampled_from(["", " ", "{}", "[]", text + text, text + " x", "\t" + text, text + "\r"]),
    )


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(written_lines(), min_size=1, max_size=40), st.booleans())
@example([], False)
def test_sql_reads_as_the_strict_reader_or_not_at_all(
    connection: duckdb.DuckDBPyConnection, folder: Path, written: list[bytes], is_ended: bool
) -> None:
    data = lines(full_row(0), full_row(1), *written)
    file = landed(folder, data if is_ended else data.rstrip(b"\n"))

    together, strictly, _ = read_both_ways(connection, file)

    assert together == strictly


def test_sql_reads_every_literal_as_the_strict_reader_or_not_at_all(
    connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    written = []
    for place, literal in itertools.product(PLACES, LITERALS):
        values = json.loads(json.dumps(full_row(1)))
        _put(values, place, MARK % 0)
        written.append(json.dumps(values).replace(f'"{MARK % 0}"', literal).encode())

    together, strictly, count = read_both_ways(connection, landed(folder, lines(*written)))

    differing = [a for a, b in zip(together[0], strictly[0], strict=False) if a != b]
    assert differing == []
    assert together == strictly
    assert count > len(written) // 3


def test_plain_rows_are_not_left_to_the_strict_reader(
    connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    plain = lines(*(full_row(n) for n in range(300)), *(row(n) for n in range(300)))

    together, strictly, count = read_both_ways(connection, landed(folder, plain))

    assert together == strictly
    assert count == 600


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_lines_end_and_files_begin_as_the_strict_reader_has_it(
    connection: duckdb.DuckDBPyConnection, folder: Path, ending: bytes
) -> None:
    plain = lines(*(full_row(n) for n in range(50))).replace(b"\n", ending)
    data = b"\xef\xbb\xbf" + plain + ending * 2 + plain + b"\xff\xfe" + ending + plain

    together, strictly, count = read_both_ways(connection, landed(folder, data))

    assert together == strictly
    assert count == 150


@given(
    st.text(max_size=20), st.sampled_from(["sk-", "PK_live_", "Bearer ", "eyJ", "ghp_", "\u017fk-"])
)
def test_the_hint_never_misses_a_credential(
    connection: duckdb.DuckDBPyConnection, before: str, beginning: str
) -> None:
    text = before.replace("\x00", "") + beginning + "abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJ"

    (found,) = connection.execute(
        "select regexp_matches(?, ?)", [text, CREDENTIAL_HINT]
    ).fetchall()[0]

    assert found or without_secrets(text) == text
