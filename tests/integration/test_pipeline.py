"""The marts depend on the rows alone: not on runs, files, order or when something arrived."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from integration.homes import (
    CATALOGS,
    EXAMPLE,
    SPEND_LOGS,
    Home,
    differing,
    example_rows,
    hash_marts,
    query,
)

Rows = list[dict[str, Any]]
NOT_USAGE = (
    "app_requests",
    "gateway_counts",
    "invoices",
    "recharge_requests",
    "wallet_transactions",
)
WEEKS = (range(1, 9), range(9, 17), range(17, 25), range(25, 32))


# ---------------------------------------------------------------- the same rows, another way


def test_second_run_changes_nothing(example_home: Home, tmp_path: Path) -> None:
    home = example_home.copy(tmp_path / "home")
    files = sorted(path.name for path in (home.path / "landing").rglob("*"))

    outcome = home.run()

    assert (outcome.status, outcome.exit_code, outcome.version) == ("published", 0, 2)
    assert outcome.load is not None
    assert outcome.load.batches == []
    assert differing(home.marts(), example_home.marts()) == []
    assert differing(hash_marts(home.published), hash_marts(example_home.published)) == []
    assert sorted(path.name for path in (home.path / "landing").rglob("*")) == files


def test_published_marts_are_the_ones_that_were_built(example_home: Home) -> None:
    built, published = example_home.marts(), hash_marts(example_home.published)

    assert len(built) >= 8
    assert published == built


def test_hash_of_marts_sees_a_changed_digit_a_null_and_a_missing_row(
    example_home: Home, tmp_path: Path
) -> None:
    """Otherwise every comparison here would prove nothing."""
    whole = example_home.marts()
    for damage in (
        "update marts.usage_records set list_cost = list_cost + cast('1e-18' as decimal(38, 18)) "
        "where rowid = 17",
        "update marts.usage_records set gateway_cost = null where rowid = 17",
        "delete from marts.usage_records where rowid = 17",
    ):
        home = Home.create(tmp_path / str(len(damage)))
        shutil.copyfile(example_home.path / "warehouse.duckdb", home.path / "warehouse.duckdb")
        home.write(damage)
        assert "usage_records" in differing(home.marts(), whole)


@pytest.fixture
def kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host five and a half hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    assert time.localtime().tm_gmtoff == 19_800
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.long
@pytest.mark.usefixtures("kolkata")
def test_rows_shuffled_over_ten_files_and_three_runs_on_a_host_elsewhere_give_the_same_marts(
    example_home: Home, tmp_path: Path
) -> None:
    rows = example_rows()
    random.Random(20261031).shuffle(rows)  # noqa: S311
    home = Home.create(tmp_path / "home")

    for number in range(10):
        part = rows[number::10]
        if number % 3 == 0:
            home.drop_rows(f"part-{number}.jsonl", part)
        elif number % 3 == 1:
            home.drop(f"{SPEND_LOGS}/part-{number}.json", json.dumps(part))
        else:
            text = "".join(json.dumps(row) + "\n" for row in part)
            home.drop(f"{SPEND_LOGS}/part-{number}.jsonl.gz", gzip.compress(text.encode()))
        if number == 2:
            # Usage before any price, any count and any application log.
            home.load_and_build()
        if number == 6:
            home.drop_example(CATALOGS)
            home.load_and_build()
    home.drop_example(*NOT_USAGE)
    home.load_and_build()

    assert differing(home.marts(), example_home.marts()) == []


# ---------------------------------------------------------------- day by day


def started_on(row: dict[str, Any]) -> int:
    return int(row["startTime"][8:10])


def deliveries() -> list[Rows]:
    """October in four deliveries, as a gateway really sends it.

    Twenty rows of the first week come as they were before they settled, at half the spend and in
    another tier. With the last delivery they come as they are, with ten late rows of each of the
    first weeks, with what was already sent of 5 October, and with the second log of one call.
    """
    rows = example_rows()
    counted = Counter(row["request_id"] for row in rows)
    repeated = next(name for name, n in counted.items() if n > 1 and name.startswith("resp_"))
    copies = sorted(
        (row for row in rows if row["request_id"] == repeated), key=lambda row: row["startTime"]
    )
    rest = [row for row in rows if row["request_id"] != repeated]
    weeks = [[row for row in rest if started_on(row) in days] for days in WEEKS]
    late = [row for week in weeks[:3] for row in week[5::7][:10]]
    settled = [row for row in weeks[0] if row not in late and row["spend"]][:20]
    weeks = [[row for row in week if row not in late and row not in settled] for week in weeks]
    version = {"updated_at": "2026-10-20T08:00:00Z"}
    return [
        [*weeks[0], *(unsettled(row) for row in settled), copies[0]],
        weeks[1],
        weeks[2],
        [
            *weeks[3],
            *late,
            *(row | version for row in settled),
            *(row for row in weeks[0] if started_on(row) == 5),
            copies[1],
        ],
    ]


def unsettled(row: dict[str, Any]) -> dict[str, Any]:
    metadata = row["metadata"] | {"cost_breakdown": {"service_tier": "priority"}}
    version = {"updated_at": "2026-10-10T08:00:00Z", "metadata": metadata}
    return row | version | {"spend": row["spend"] / 2}


@dataclass(frozen=True)
class Delivered:
    """The marts after deliveries in turn, after a full refresh of those, and after one load."""

    in_turn: dict[str, str]
    refreshed: dict[str, str]
    at_once: dict[str, str]
    touched_days: list[set[int] | None]
    restatements: int
    duplicates: int


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    folder = tmp_path_factory.mktemp("deliveries")
    early, late = sorted((EXAMPLE / "landing" / CATALOGS).iterdir())
    home, other = Home.create(folder / "in_turn"), Home.create(folder / "at_once")
    touched_days: list[set[int] | None] = []
    home.drop(f"{CATALOGS}/{early.name}", early.read_bytes())
    home.drop_example(*NOT_USAGE)

    for number, rows in enumerate(deliveries()):
        if number == 2:
            # Prices of 15 October, learned when usage of the 16th is already priced.
            home.drop(f"{CATALOGS}/{late.name}", late.read_bytes())
        home.drop_rows(f"delivery-{number}.jsonl", rows)
        plan = home.load_and_build().log.plan
        assert plan is not None
        days = plan.touched_days
        touched_days.append(None if days is None else {int(day[8:10]) for day in days})
    in_turn = home.marts()
    home.load_and_build(full_refresh=True)

    other.drop_example(*NOT_USAGE, CATALOGS)
    other.drop_rows("all.jsonl", [row for rows in reversed(deliveries()) for row in rows])
    other.load_and_build()

    ((versions, duplicates),) = home.query("""
        select
            (select count(*) from raw.litellm__spend_logs where source_version_at is not null),
            (select count(*) from marts.usage_records where duplicate_of is not null)
        """)
    return Delivered(in_turn, home.marts(), other.marts(), touched_days, versions - 20, duplicates)


@pytest.mark.long
def test_deliveries_in_turn_equal_a_full_refresh_and_one_big_load(delivered: Delivered) -> None:
    """Late rows, restatements, a duplicate days later, and a price catalog after its time."""
    assert differing(delivered.in_turn, delivered.refreshed) == []
    assert differing(delivered.refreshed, delivered.at_once) == []


@pytest.mark.long
def test_deliveries_built_only_the_days_they_touched(delivered: Delivered) -> None:
    """Otherwise the comparison would be of full builds among themselves."""
    first, second, third, last = delivered.touched_days

    assert first is None
    assert second == set(WEEKS[1])
    assert third == set(WEEKS[2])
    assert last is not None
    assert {*WEEKS[3]} < last < set(range(1, 32))
    assert (delivered.restatements, delivered.duplicates) == (20, 1)


# ---------------------------------------------------------------- billed and paid


def test_the_example_has_an_invoice_whose_every_cent_has_a_cause_and_a_wallet(
    example_home: Home,
) -> None:
    (invoice,) = query(
        example_home.published,
        """
        select
            sum(amount_invoiced), sum(amount_expected), sum(tax_amount),
            sum(missing_usage_amount), sum(rounding_amount), sum(unexplained_amount),
            bool_and(status in ('matched', 'explained')), count(*)
        from marts.invoice_reconciliation
        """,
    )
    (wallet,) = query(
        example_home.published,
        """
        select wallet_id, status, last_topup_amount, balance_amount = 15 - (
            select sum(billed_cost) from marts.usage_records
            where account_id = 'brindlemoor-lab' and duplicate_of is null
        )
        from marts.wallet_balances
        """,
    )

    # Two requests the gateway did not log: 9,645 tokens in at 1 USD a million, 1,325 out at 5.
    assert invoice == (
        Decimal("5.92"), Decimal("4.9326381"), Decimal("0.99"),
        Decimal("0.01627"), Decimal("-0.0189081"), Decimal(0), True, 11,
    )  # fmt: skip
    assert wallet == ("lab-credits", "ok", Decimal(5), True)
    # The cents of tax-free lines against what was accrued: all of it is reversed.
    assert query(
        example_home.published,
        "select sum(accrued_amount), sum(invoiced_amount), sum(reversed_amount) "
        "from marts.accruals where provider_account_id = 'anthropic-brindlemoor'",
    ) == [(Decimal("4.9326381"), Decimal("4.93"), Decimal("4.9326381"))]
    assert query(
        example_home.published,
        "select count(*) from marts.exceptions where subject_type in "
        "('invoice', 'invoice_line', 'wallet_entry', 'wallet')",
    ) == [(0,)]


# ---------------------------------------------------------------- NULL is not 0


def test_unknown_quantities_and_costs_are_null_and_known_nothings_are_0(
    example_home: Home,
) -> None:
    found = query(
        example_home.published,
        """
        select
            cost_status, count(*),
            count(list_cost), count(billed_cost), count(provider_cost), sum(list_cost),
            count(input_text_uncached_tokens), count(input_characters),
            sum(input_text_uncached_tokens + output_text_tokens)
        from marts.usage_records
        where cost_status <> 'priced'
        group by all order by all
        """,
    )

    assert [row[:6] for row in found] == [
        ("cache_hit", 28, 28, 28, 28, Decimal(0)),
        ("failed", 21, 21, 21, 21, Decimal(0)),
        ("free", 2, 2, 2, 2, Decimal(0)),
        ("quantity_unknown", 2, 0, 0, 0, None),
        ("unpriced", 16, 0, 0, 0, None),
    ]
    quantities = {row[0]: row[6:] for row in found}
    assert quantities["quantity_unknown"] == (0, 0, None)
    assert quantities["cache_hit"] == (28, 28, 0)
    assert quantities["unpriced"][:2] == (16, 16)
    assert quantities["unpriced"][2] > 0


def test_sums_are_of_known_costs_and_null_where_none_is_known(example_home: Home) -> None:
    rows = query(
        example_home.published,
        """
        select
            d.model, d.requests, d.list_cost, d.billed_cost, d.savings, d.unpriced_requests,
            d.unpriced_gateway_cost
        from marts.daily_spend as d
        where d.unpriced_requests > 0
        order by all
        """,
    )

    assert sum(row[5] for row in rows) == 18
    for model, requests, *costs, unpriced, unpriced_gateway_cost in rows:
        assert requests == unpriced, "the example has no day with known and unknown costs in a row"
        assert costs == [None, None, None], model
        assert unpriced_gateway_cost is not None
    known = query(
        example_home.published,
        "select count(*), count(list_cost), count(unpriced_gateway_cost) from marts.daily_spend "
        "where unpriced_requests = 0",
    )
    assert known[0][0] == known[0][1] > 0
    assert known[0][2] == 0


def test_day_with_a_known_and_an_unknown_cost_sums_the_known_one(
    example_home: Home, tmp_path: Path
) -> None:
    """The same speech once with its characters, once without."""
    spoken = [row for row in example_rows() if row["call_type"] == "aspeech"]
    known = max(spoken, key=lambda row: len(json.dumps(row["metadata"].get("usage_object"))))
    metadata = known["metadata"] | {"usage_object": None, "additional_usage_values": None}
    unknown = known | {"request_id": "unknown", "metadata": metadata, "spend": 0.5}
    home = Home.create(tmp_path / "home")
    home.drop_example(CATALOGS)
    home.drop_rows("speech.jsonl", [known, unknown])

    home.load_and_build()

    ((requests, list_cost, unpriced, unpriced_cost),) = home.query("""
        select requests, list_cost, unpriced_requests, unpriced_gateway_cost
        from marts.daily_spend
        """)
    assert list_cost == Decimal(str(known["spend"]))
    assert (requests, unpriced, unpriced_cost) == (2, 1, Decimal("0.5"))


def test_cost_lines_add_up_to_every_record(example_home: Home) -> None:
    different = query(
        example_home.published,
        """
        with lines as (
            select usage_record_id, sum(list_cost) as list_cost, count(list_cost) as costs
            from marts.cost_lines group by all
        )
        select u.usage_record_id, u.list_cost, l.list_cost
        from marts.usage_records as u
        left join lines as l on u.usage_record_id = l.usage_record_id
        where
            coalesce(u.list_cost, 0) <> coalesce(l.list_cost, 0)
            or (u.list_cost is null and l.costs > 0)
        """,
    )

    assert different == []


# ---------------------------------------------------------------- no content, anywhere

PROMPT, SECRET, ADDRESS = "CANARY-PROMPT-19c4", "sk-CANARYkey0123456789abcdef", "10.9.8.123"
CANARIES = (PROMPT, "CANARYkey", ADDRESS)


@pytest.fixture(scope="module")
def canary_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A whole run over rows that carry content wherever a gateway has been seen to write it."""
    plain, failed, refused = (row for row in example_rows()[:3])
    said = [{"role": "user", "content": f"{PROMPT}: our plans for next year"}]
    carrier = {
        "messages": said,
        "response": {"choices": [{"message": {"content": PROMPT}}]},
        "proxy_server_request": {"headers": {"authorization": f"Bearer {SECRET}"}, "body": said},
        "requester_ip_address": ADDRESS,
        "api_key": SECRET,
        "api_base": f"https://user:{SECRET}@llm.example/v1?key={SECRET}",
        "prompt": PROMPT,
        "request_tags": [f"User-Agent: {PROMPT}"],
    }
    metadata = {
        "requester_ip_address": ADDRESS,
        "user_agent": PROMPT,
        "headers": {"x-api-key": SECRET},
        "guardrail_information": [{"guardrail_response": PROMPT}],
        "vector_store_request_metadata": [{"query": PROMPT}],
        "mcp_tool_call_metadata": {"arguments": PROMPT},
        "model_map_information": {"model_map_value": {"note": PROMPT}},
        "error_information": {
            "error_code": "400",
            "error_class": "BadRequestError",
            "error_message": f"invalid prompt: {PROMPT}",
            "traceback": f"File x, line 1\n{PROMPT} {SECRET}",
        },
        "spend_logs_metadata": {"note": PROMPT, "ticket": "T-1"},
    }
    rows = [
        plain | carrier | {"metadata": plain["metadata"] | metadata},
        failed | carrier | {"status": "failure", "metadata": failed["metadata"] | metadata},
        refused | carrier | {"spend": -1, "metadata": metadata},
        refused
        | carrier
        | {"request_id": "bad", "startTime": None, "metadata": json.dumps(metadata)},
    ]
    home = Home.create(tmp_path_factory.mktemp("canary") / "home")
    home.drop_example(CATALOGS)
    home.drop_rows("usage.jsonl", rows)
    packed = "".join(
        json.dumps(row | {"request_id": f"z-{row['request_id']}"}) + "\n" for row in rows
    )
    home.drop(f"{SPEND_LOGS}/packed.jsonl.gz", gzip.compress(packed.encode()))
    page = [row | {"request_id": f"p-{row['request_id']}"} for row in rows]
    home.drop(f"{SPEND_LOGS}/page.json", json.dumps({"data": page, "total": len(page)}))
    outcome = home.run()
    assert outcome.status == "published", outcome.problems
    return home


def test_scan_for_content_finds_every_kind_of_leak(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute(
            "create table t as select 1 as i, [{'text': 'x' || $1}] as said", [PROMPT]
        )
    with sqlite3.connect(tmp_path / "b.db") as connection:
        connection.execute("create table t (event text)")
        connection.execute("insert into t values (?)", [f"error: {SECRET}"])
    table = duckdb.sql(f"select '{ADDRESS}' as ip from range(2000)").to_arrow_table()
    pq.write_table(table, tmp_path / "c.parquet", compression="zstd")
    noted = duckdb.sql("select 1 as i").to_arrow_table().replace_schema_metadata({"note": PROMPT})
    pq.write_table(noted, tmp_path / "d.parquet")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(PROMPT.encode()))
    (tmp_path / "f.html").write_text(f"<p>{PROMPT}</p>")
    (tmp_path / "clean.txt").write_text("nothing to see")

    assert {path.name for path, _ in find_canaries(tmp_path)} == {
        "a.duckdb", "b.db", "c.parquet", "d.parquet", "e.jsonl.gz", "f.html"
    }  # fmt: skip


def test_whole_run_leaves_no_content_secret_or_address_anywhere(canary_home: Home) -> None:
    """Landing, warehouse, published file, check page, dbt's artefacts, Dagster's storage."""
    found = list(find_canaries(canary_home.path))

    assert found == []
    kinds = {path.suffix for path in canary_home.path.rglob("*") if path.is_file()}
    assert kinds >= {".duckdb", ".parquet", ".html", ".db", ".json", ".msgpack"}
    # The rows themselves are there: what was scanned is not an empty house.
    assert canary_home.query("select count(*) from marts.usage_records") == [(6,)]
    assert canary_home.query("select count(*) from audit.quarantine") == [(6,)]
    assert canary_home.query("select distinct ticket from marts.usage_records") == [("T-1",)]


def find_canaries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that hold a canary in their bytes or, where those are packed, in what they say."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        for text in (content, *unpacked(path, content)):
            found = [canary for canary in CANARIES if canary.encode() in text]
            if found:
                yield path, found[0]
                break


def unpacked(path: Path, content: bytes) -> Iterator[bytes]:
    if path.name.endswith(".gz"):
        yield gzip.decompress(content)
    elif path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield repr(file.schema_arrow.metadata).encode()
        yield repr(file.read().to_pylist()).encode()
    elif path.suffix == ".duckdb":
        tables = query(
            path,
            "select table_schema, table_name from information_schema.tables "
            "where table_type = 'BASE TABLE'",
        )
        for schema, table in tables:
            rows = query(path, f'select cast(t as varchar) from "{schema}"."{table}" as t')
            yield repr(rows).encode()
