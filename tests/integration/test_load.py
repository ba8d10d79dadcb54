"""The load step as a whole: loaded once, in any order, after any kill, and again from landing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.hostile_files import APP, COUNTS, PRICES
from fixtures.loader_homes import COUNTS as LEDGER_COUNTS
from fixtures.loader_homes import LEDGER_SQL, RAW_SQL, LoaderHome, touch
from fixtures.spend_logs import lines, parquet, row, table

from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.ledger import Ledger

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files lie as they are from the beginning; waiting for them proves nothing here."""
    monkeypatch.setattr("orchestration.landing.files.SETTLE_SECONDS", 0)


def counts(home: LoaderHome) -> dict[str, tuple[int, ...]]:
    """(in, loaded, already known, quarantined, flagged) by file name."""
    return {
        entry["file_name"]: tuple(entry[name] for name in LEDGER_COUNTS) for entry in home.ledger()
    }


def spend_rows(home: LoaderHome) -> list[tuple[Any, ...]]:
    return home.raw_rows()["litellm__spend_logs"]


def batch_row(number: int) -> dict[str, Any]:
    """The settlement of a batch over two models: one row with two parts."""
    by_model = {"m-a": {"prompt_tokens": 10}, "m-b": {"prompt_tokens": 20, "completion_tokens": 1}}
    usage = {"prompt_tokens": 30, "batch_usage_by_model": by_model}
    return row(number, call_type="aretrieve_batch", metadata={"usage_object": usage})


# ---------------------------------------------------------------- once and only once


def test_the_same_bytes_under_another_name_are_already_known(loader_home: LoaderHome) -> None:
    data = lines(row(1), row(2), row(3, spend=-1))
    loader_home.drop("a.jsonl", data)
    loader_home.drop("b.jsonl", data)
    loader_home.drop("c.jsonl", data, source="litellm_other")

    report = loader_home.load()

    assert [batch.status for batch in report.batches] == [
        "loaded",
        "already_known",
        "already_known",
    ]
    assert [tuple(getattr(b, n) for n in LEDGER_COUNTS) for b in report.batches] == [
        (3, 2, 0, 1, 0),
        (3, 0, 3, 0, 0),
        (3, 0, 3, 0, 0),
    ]
    assert len(spend_rows(loader_home)) == 2


def test_a_second_run_loads_nothing(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), batch_row(2)))
    loader_home.drop("bad.jsonl", b"\x1f\x8b")
    loader_home.drop("p.json", b'{"m": {"input_cost_per_token": 1, "mode": "chat"}}', source=PRICES)
    loader_home.load()
    before = (loader_home.raw_rows(), loader_home.table("audit.load_batches"))

    report = loader_home.load(as_of="2026-07-15T00:00:00Z")

    assert report.batches == []
    assert (loader_home.raw_rows(), loader_home.table("audit.load_batches")) == before


@pytest.mark.parametrize("after_load", ["scrub", "keep"])
def test_a_file_that_comes_again_under_its_name_changes_no_entry(
    after_load: str, tmp_path: Path, empty_warehouse: Path
) -> None:
    home = LoaderHome.create(tmp_path / "home", empty_warehouse, after_load=after_load)
    data = lines(row(1), row(2), row(3, spend=-1))
    catalog = b'{"m": {"input_cost_per_token": 1, "mode": "chat"}}'
    home.drop("a.jsonl", data)
    home.drop("p.json", catalog, source=PRICES)
    home.load()
    before = (counts(home), home.raw_rows(), home.table("audit.quarantine"))

    for _ in range(3):
        home.drop("a.jsonl", data)
        home.drop("p.json", catalog, source=PRICES)
        assert home.load().batches == []

    assert (counts(home), home.raw_rows(), home.table("audit.quarantine")) == before
    assert (home.folder() / "a.jsonl").exists() == (after_load == "keep")


def test_a_row_in_two_files_is_stored_once(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2), batch_row(3)))
    loader_home.drop("b.csv", table(row(2), batch_row(3), row(4)))
    loader_home.drop("c.jsonl", lines(row(4), row(1)), source="litellm_other")

    loader_home.load()

    assert counts(loader_home) == {
        "litellm_files/a.jsonl": (3, 3, 0, 0, 0),
        "litellm_files/b.csv": (3, 1, 2, 0, 0),
        "litellm_other/c.jsonl": (2, 0, 2, 0, 0),
    }
    raw = loader_home.raw_rows()
    assert [len(raw[name]) for name in ("litellm__spend_logs", "litellm__batch_usage")] == [4, 2]


def test_formats_of_one_table_give_the_same_rows(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    rows = [row(n, spend=0.1 + n, request_tags=["env:prod"]) for n in range(5)] + [batch_row(9)]
    loader_home.drop("a.jsonl", lines(*rows))
    second_loader_home.drop("a.parquet", parquet(*rows))
    second_loader_home.drop("b.csv", table(*rows))
    second_loader_home.drop("c.json", json.dumps({"data": rows}))

    loader_home.load()
    report = second_loader_home.load()

    assert [batch.rows_loaded for batch in report.batches] == [6, 0, 0]
    assert second_loader_home.raw_rows() == loader_home.raw_rows()


def test_a_file_that_grew_adds_its_new_rows(loader_home: LoaderHome) -> None:
    loader_home.drop("log.jsonl", lines(row(1), row(2)))
    loader_home.load()
    loader_home.drop("log.jsonl", lines(row(1), row(2), row(3)))

    (batch,) = loader_home.load().batches

    assert (batch.rows_in, batch.rows_loaded, batch.rows_already_known) == (3, 1, 2)
    assert len(spend_rows(loader_home)) == 3


def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_run(
    loader_home: LoaderHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = loader_home.drop("log.jsonl", lines(row(1)))
    from orchestration.warehouse import load

    read_rows = load.read_rows

    def read_while_somebody_writes(*args: Any, **kwargs: Any) -> Any:
        with path.open("ab") as stream:
            stream.write(lines(row(2)))
        return read_rows(*args, **kwargs)

    monkeypatch.setattr(load, "read_rows", read_while_somebody_writes)

    report = loader_home.load()

    assert (report.batches, report.unsettled) == ([], ("litellm_files/log.jsonl",))
    assert spend_rows(loader_home) == []
    monkeypatch.undo()
    touch(path)
    assert [batch.rows_loaded for batch in loader_home.load().batches] == [2]


def test_a_rejected_file_that_is_put_right_loads(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", b"\x1f\x8b not yet")
    loader_home.load()
    loader_home.drop("a.jsonl", lines(row(1)))

    (batch,) = loader_home.load().batches

    assert (batch.status, batch.rows_loaded) == ("loaded", 1)
    assert Counter(entry["status"] for entry in loader_home.ledger()) == {
        "rejected": 1,
        "loaded": 1,
    }


def test_a_rejected_file_that_is_only_touched_keeps_one_entry(loader_home: LoaderHome) -> None:
    for _ in range(3):
        loader_home.drop("a.jsonl", b"\x1f\x8b never")
        assert [batch.status for batch in loader_home.load().batches] == ["rejected"]

    assert [entry["status"] for entry in loader_home.ledger()] == ["rejected"]


# ---------------------------------------------------------------- any order, any split


def month_of_rows() -> list[dict[str, Any]]:
    """Rows with restatements, repeated ids on other days, batches and exact repetitions."""
    rows = [row(n, spend=round(0.001 * n, 6)) for n in range(60)]
    rows += [batch_row(n) for n in (70, 71)]
    rows += [row(n, updated_at="2026-06-16T00:00:00Z", spend=0.5) for n in (3, 4)]
    rows += [row(n, startTime="2026-06-20T00:00:00Z", endTime=None) for n in (5, 6)]
    return [*rows, *rows[10:20]]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shuffled_and_split_rows_give_the_same_raw_rows(
    seed: int, loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    rows = month_of_rows()
    loader_home.drop("all.jsonl", lines(*rows))
    chance = random.Random(seed)  # noqa: S311  # a reproducible order, no secret
    chance.shuffle(rows)

    loader_home.load()
    for part in chance.sample(range(10), 10):
        second_loader_home.drop(f"part-{part}.jsonl", lines(*rows[part::10]))
        if chance.random() < 0.5:
            second_loader_home.load()
    second_loader_home.load()

    assert second_loader_home.raw_rows() == loader_home.raw_rows()
    for name in ("raw.litellm__contested_requests", "audit.touched_days"):
        assert second_loader_home.table(name) == loader_home.table(name)
    totals = [sum(c[i] for c in counts(second_loader_home).values()) for i in range(4)]
    assert totals == [76, 66, 10, 0]


def test_a_restatement_is_a_further_row_and_its_id_is_contested(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2)))
    loader_home.load()
    newer = row(1, updated_at="2026-06-16T08:00:00Z", spend=0.75)
    loader_home.drop("b.jsonl", lines(newer))

    (batch,) = loader_home.load().batches

    assert (batch.rows_loaded, batch.codes) == (1, "")
    assert loader_home.query("""
        select spend, source_version_at
        from raw.litellm__spend_logs
        where request_id = 'chatcmpl-000001'
        order by source_version_at nulls first
        """) == [
        (Decimal("0.00125"), None),
        (Decimal("0.75"), datetime(2026, 6, 16, 8)),  # noqa: DTZ001  # DuckDB TIMESTAMP, in UTC
    ]
    contested = loader_home.table("raw.litellm__contested_requests")
    assert contested == [("litellm", "chatcmpl-000001")]


def test_a_repeated_id_touches_the_days_of_all_its_rows(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2, startTime="2026-06-03T00:00:00Z")))
    loader_home.load()
    loader_home.query("delete from audit.touched_days")
    again = row(1, startTime="2026-06-20T23:59:59.999Z", endTime=None)
    loader_home.drop("b.jsonl", lines(again))

    loader_home.load()

    assert loader_home.table("audit.touched_days") == [
        ("litellm__spend_logs", date(2026, 6, 15)),
        ("litellm__spend_logs", date(2026, 6, 20)),
    ]


def test_ids_that_an_earlier_version_loaded_are_met_again(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2, startTime="2026-06-03T00:00:00Z")))
    loader_home.load()
    loader_home.query("drop table raw.litellm__spend_logs_request_days")
    loader_home.query("delete from audit.touched_days")
    loader_home.drop("b.jsonl", lines(row(2, startTime="2026-06-20T00:00:00Z", endTime=None)))

    loader_home.load()

    contested = loader_home.table("raw.litellm__contested_requests")
    assert contested == [("litellm", "chatcmpl-000002")]
    assert loader_home.table("audit.touched_days") == [
        ("litellm__spend_logs", date(2026, 6, 3)),
        ("litellm__spend_logs", date(2026, 6, 20)),
    ]


def test_what_is_already_known_touches_no_day(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2)))
    loader_home.load()
    loader_home.query("delete from audit.touched_days")
    loader_home.drop("b.jsonl", lines(row(2), row(1)))

    loader_home.load()

    assert loader_home.table("audit.touched_days") == []


def test_one_id_of_two_gateways_is_no_conflict(loader_home: LoaderHome) -> None:
    config = loader_home.path / "tollbook.yml"
    config.write_text(
        config.read_text().replace(
            "litellm_other, kind: litellm_spend_logs, gateway: litellm",
            "litellm_other, kind: litellm_spend_logs, gateway: second",
        )
    )
    loader_home.drop("a.jsonl", lines(row(1)))
    loader_home.drop("a.jsonl", lines(row(1)), source="litellm_other")

    report = loader_home.load()

    assert [batch.rows_loaded for batch in report.batches] == [1, 1]
    assert loader_home.table("raw.litellm__contested_requests") == []


def test_kinds_in_one_folder_are_told_apart_by_their_columns(loader_home: LoaderHome) -> None:
    count = {"gateway": "litellm", "hour_at": "2026-06-15T10:00:00Z", "model": "m", "requests": 3}
    loader_home.drop("a.jsonl", lines(b"{broken", count))
    loader_home.drop("b.csv", table(count))
    loader_home.folder("litellm_files/gateway_counts")
    loader_home.drop("c.jsonl", lines(count), source="litellm_files/gateway_counts")

    report = loader_home.load()

    assert [batch.kind for batch in report.batches] == ["gateway_counts"] * 3
    assert [batch.rows_loaded for batch in report.batches] == [1, 0, 0]
    assert report.batches[0].rows_quarantined == 1


def test_counts_and_app_requests_are_stored_once_too(loader_home: LoaderHome) -> None:
    count = {"gateway": "litellm", "hour_at": "2026-06-15T10:00:00Z", "model": None, "requests": 3}
    request = {
        "request_id": "a",
        "gateway": "litellm",
        "model": "m",
        "occurred_at": "2026-06-15T10:00:00Z",
    }
    for name in ("a", "b"):
        note = {"note": name}
        loader_home.drop(f"{name}.jsonl", lines({**count, **note}), source=COUNTS)
        loader_home.drop(f"{name}.jsonl", lines({**request, **note}), source=APP)

    report = loader_home.load()

    found = {batch.file_name: batch.rows_already_known for batch in report.batches}
    assert found == {
        "app_requests/a.jsonl": 0,
        "app_requests/b.jsonl": 1,
        "gateway_counts/a.jsonl": 0,
        "gateway_counts/b.jsonl": 1,
    }


# ---------------------------------------------------------------- evidence and rebuild


def test_a_dropped_file_is_replaced_by_its_allow_listed_rows(loader_home: LoaderHome) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2, spend=-1)))
    loader_home.drop("counts.csv", b"gateway,hour_at,requests\n", source=COUNTS)

    loader_home.load()

    assert files_of(loader_home) == {
        "litellm_files/a.jsonl.scrubbed.parquet",
        "gateway_counts/counts.csv",
    }
    assert loader_home.ledger()[1]["file_name"] == "litellm_files/a.jsonl"


def test_a_file_is_kept_where_the_settings_say_so(tmp_path: Path, empty_warehouse: Path) -> None:
    home = LoaderHome.create(tmp_path / "home", empty_warehouse, after_load="keep")
    data = lines(row(1))
    path = home.drop("a.jsonl", data)

    home.load()

    assert files_of(home) == {"litellm_files/a.jsonl"}
    assert path.read_bytes() == data
    assert home.load().batches == []


def test_a_kept_file_is_replaced_once_the_settings_change(
    tmp_path: Path, empty_warehouse: Path
) -> None:
    home = LoaderHome.create(tmp_path / "home", empty_warehouse, after_load="keep")
    home.drop("a.jsonl", lines(row(1)))
    home.load()
    config = home.path / "tollbook.yml"
    config.write_text(config.read_text().replace("keep", "scrub"))

    report = home.load()

    assert (report.batches, files_of(home)) == ([], {"litellm_files/a.jsonl.scrubbed.parquet"})


def files_of(home: LoaderHome) -> set[str]:
    """What lies in landing, below it."""
    found = (path for path in home.landing.rglob("*") if path.is_file())
    return {path.relative_to(home.landing).as_posix() for path in found} - {".observed.jsonl"}


def drop_mixed_month(home: LoaderHome) -> None:
    """Good, bad, flagged, repeated and restated rows of every kind in several files."""
    rows = month_of_rows()
    home.drop("1.jsonl", lines(*rows[:40], row(200, spend=-1), b"{broken"))
    home.drop("2.csv", table(*(dict(row(0), **each) for each in rows[30:62])))
    home.drop("3.parquet", parquet(*(row(n, startTime="2026-06-15T01:00:00") for n in (300, 301))))
    home.drop("4.jsonl", lines(*rows[40:]), source="litellm_other")
    home.drop("5.jsonl", lines(*rows[40:]))
    home.drop("6.jsonl", b"\xff\xfe never")
    home.drop("7.jsonl", lines(row(7, api_key="sk-0123456789abcdefghij", messages="text")))
    count = {"gateway": "litellm", "hour_at": "2026-06-15T10:00:00Z", "model": "m", "requests": 3}
    home.drop("c.jsonl", lines(count), source=COUNTS)
    prices = {"m": {"input_cost_per_token": 1e-06, "mode": "chat"}}
    home.drop("p.json", json.dumps(prices), source=PRICES)


# Files whose rows in raw and in quarantine are not as many as the ledger says.
DIFFERENCES_SQL = """
    select load_batch_id, l.rows_loaded, r.rows_found, l.rows_quarantined, q.rows_refused
    from (select * from audit.load_batches where kind = 'litellm_spend_logs') as l
    full join (
        select _load_batch_id as load_batch_id, count(*) as rows_found
        from raw.litellm__spend_logs group by all
    ) as r using (load_batch_id)
    full join (
        select load_batch_id, count(*) as rows_refused from audit.quarantine group by all
    ) as q using (load_batch_id)
    where
        l.rows_loaded is distinct from coalesce(r.rows_found, 0)
        or l.rows_quarantined is distinct from coalesce(q.rows_refused, 0)
    """


def remembered(home: LoaderHome) -> dict[str, Any]:
    """Everything that a load leaves behind and that has to come again."""
    return home.queries(
        {
            **RAW_SQL,
            "ledger": LEDGER_SQL,
            "quarantine": "select * from audit.quarantine order by all",
            "flags": "select * from audit.row_flags order by all",
            "contested": "select * from raw.litellm__contested_requests order by all",
            "days": "select * from audit.touched_days order by all",
            "differences": DIFFERENCES_SQL,
        }
    )


def test_landing_alone_rebuilds_rows_ledger_flags_and_quarantine(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    drop_mixed_month(loader_home)
    loader_home.load()
    loader_home.drop("8.jsonl", lines(row(3), row(400), row(401, spend=None)))
    loader_home.load(as_of="2026-07-02T00:00:00Z")
    shutil.copytree(loader_home.landing, second_loader_home.landing, dirs_exist_ok=True)

    second_loader_home.load(as_of="2026-09-01T00:00:00Z")

    assert remembered(second_loader_home) == remembered(loader_home)
    loaded_at = (
        "select file_name, loaded_at from audit.load_batches where kind like 'lite%' order by 1"
    )
    scrubbed = [each for each in loader_home.query(loaded_at) if "6.jsonl" not in each[0]]
    again = [each for each in second_loader_home.query(loaded_at) if "6.jsonl" not in each[0]]
    assert again == scrubbed


def test_evidence_whose_time_changed_is_known(loader_home: LoaderHome) -> None:
    drop_mixed_month(loader_home)
    loader_home.load()
    before = remembered(loader_home)
    for path in loader_home.landing.rglob("*.scrubbed.parquet"):
        touch(path)

    report = loader_home.load()

    assert (report.batches, remembered(loader_home)) == ([], before)
    assert loader_home.load().batches == []


def test_evidence_of_a_renamed_source_belongs_to_the_new_name(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    loader_home.drop("a.jsonl", lines(row(1), row(2, spend=-1)))
    loader_home.load()
    name = "a.jsonl.scrubbed.parquet"
    shutil.copy2(loader_home.folder() / name, second_loader_home.folder("litellm_other") / name)

    (batch,) = second_loader_home.load().batches

    assert (batch.source, batch.file_name) == ("litellm_other", "litellm_other/a.jsonl")
    assert counts(second_loader_home) == {"litellm_other/a.jsonl": (2, 1, 0, 1, 0)}
    sources = "select _source, _source_file from raw.litellm__spend_logs"
    assert second_loader_home.query(sources) == [("litellm_other", "litellm_other/a.jsonl")]


def test_evidence_from_before_a_column_was_added_loads_without_it(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    import pyarrow.parquet as pq

    loader_home.drop("a.jsonl", lines(row(1), batch_row(2)))
    loader_home.load()
    name = "a.jsonl.scrubbed.parquet"
    older = pq.read_table(loader_home.folder() / name).drop_columns(["region", "ocr_pages"])
    pq.write_table(older, second_loader_home.folder() / name)
    touch(second_loader_home.folder() / name)

    second_loader_home.load()

    assert second_loader_home.raw_rows() == loader_home.raw_rows()


@pytest.mark.parametrize("damage", ["cut", "foreign", "counts", "kind", "empty"])
def test_damaged_evidence_is_rejected_and_the_rest_goes_on(
    damage: str, loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    import pyarrow.parquet as pq

    loader_home.drop("a.jsonl", lines(row(1)))
    loader_home.load()
    name = "a.jsonl.scrubbed.parquet"
    data = (loader_home.folder() / name).read_bytes()
    place = second_loader_home.drop(name, {"cut": data[:-9], "empty": b""}.get(damage, data))
    if damage in ("foreign", "counts", "kind"):
        content = pq.read_table(place)
        note = json.loads(content.schema.metadata[b"tollbook"])
        note["batch"] |= {"counts": {"rows_in": 5}, "kind": {"kind": "x"}}.get(damage, {})
        metadata = {} if damage == "foreign" else {"tollbook": json.dumps(note)}
        pq.write_table(content.replace_schema_metadata(metadata), place)
        touch(place)
    second_loader_home.drop("good.jsonl", lines(row(2)))

    report = second_loader_home.load()

    code = "schema_mismatch" if damage == "kind" else "bad_parquet"
    assert [(b.status, b.reason_code) for b in report.batches] == [
        ("rejected", code),
        ("loaded", None),
    ]


# ---------------------------------------------------------------- kills


@pytest.fixture
def killer() -> Iterator[Callable[..., dict[str, Any]]]:
    """Starts the load of a home and kills it as ordered; says whether it was, and when."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fixtures.killed_load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, results = process.stdin, process.stdout

    def kill(home: LoaderHome, **order: Any) -> dict[str, Any]:
        orders.write(json.dumps({"home": str(home.path), **order}) + "\n")
        orders.flush()
        return json.loads(results.readline())

    yield kill
    orders.close()
    process.wait(timeout=30)
    results.close()


def prepared_home(path: Path, empty_warehouse: Path) -> LoaderHome:
    home = LoaderHome.create(path, empty_warehouse)
    rows = month_of_rows()
    home.drop("1.jsonl", lines(*rows[:40], row(200, spend=-1), row(201, messages="text")))
    home.drop("2.csv", table(*(dict(row(0), **each) for each in rows[30:62])))
    home.drop("3.jsonl", lines(*rows[40:]))
    home.drop("p.json", catalog_of(1e-06), source=PRICES)
    return home


def assert_healed(home: LoaderHome, undisturbed: dict[str, Any], names: set[str]) -> None:
    assert home.query(DIFFERENCES_SQL) == []
    home.load()
    assert remembered(home) == undisturbed
    assert files_of(home) == names


@pytest.mark.long
def test_a_load_killed_at_any_moment_ends_as_if_nothing_had_happened(
    tmp_path: Path, empty_warehouse: Path, killer: Callable[..., dict[str, Any]]
) -> None:
    chance = random.Random(20260630)  # noqa: S311  # reproducible moments, no secret
    whole = prepared_home(tmp_path / "whole", empty_warehouse)
    longest = killer(whole, step="load.hash_file", when="after", call=99)["seconds"]
    undisturbed, names = remembered(whole), files_of(whole)
    assert len(undisturbed["litellm__spend_logs"]) == 67
    assert undisturbed["differences"] == []

    kills = 0
    for number in range(60):
        home = prepared_home(tmp_path / str(number), empty_warehouse)
        result = killer(home, after=chance.uniform(0.02, longest))
        # A machine that became faster ends before its kill; the next one comes earlier.
        kills += result["killed"]
        longest = longest if result["killed"] else longest * 0.8
        assert_healed(home, undisturbed, names)
        if kills == 20:
            break

    assert kills == 20


STEPS = [
    ("load.hash_file", 2),
    ("load_prices.first_seen", 1),
    ("load_prices._insert_prices", 1),
    ("staged.insert_new_rows", 2),
    ("ledger.Ledger.insert", 3),
    ("ledger.Ledger.insert_flags", 1),
    ("evidence._write", 2),
    ("ledger.Ledger.record_evidence", 3),
    ("evidence._remove_unchanged", 1),
    ("ledger.Ledger.write_head", 1),
]


def test_a_load_killed_at_any_step_ends_as_if_nothing_had_happened(
    tmp_path: Path, empty_warehouse: Path, killer: Callable[..., dict[str, Any]]
) -> None:
    whole = prepared_home(tmp_path / "whole", empty_warehouse)
    whole.load()
    undisturbed, names = remembered(whole), files_of(whole)

    for step, call in STEPS:
        for when in ("before", "after"):
            home = prepared_home(tmp_path / f"{step} {when}", empty_warehouse)
            assert killer(home, step=step, when=when, call=call)["killed"]
            assert_healed(home, undisturbed, names)


# ---------------------------------------------------------------- a database that lost its end


def missing_batches(home: LoaderHome) -> int:
    with open_warehouse(home.runtime()) as connection:
        return Ledger(connection).missing_batches(home.path)


def test_a_database_that_lost_batches_is_noticed_and_healed_from_landing(
    loader_home: LoaderHome, tmp_path: Path
) -> None:
    loader_home.drop("a.jsonl", lines(row(1)))
    loader_home.load()
    shutil.copyfile(loader_home.path / "warehouse.duckdb", tmp_path / "earlier.duckdb")
    loader_home.drop("b.jsonl", lines(row(2), row(3, spend=-1)))
    loader_home.drop("c.csv", table(row(3), row(4)))
    loader_home.load()
    whole = remembered(loader_home)
    assert missing_batches(loader_home) == 0

    shutil.copyfile(tmp_path / "earlier.duckdb", loader_home.path / "warehouse.duckdb")
    lost = missing_batches(loader_home)
    report = loader_home.load()

    assert (lost, len(report.batches)) == (2, 2)
    assert missing_batches(loader_home) == 0
    assert remembered(loader_home) == whole


def test_a_log_cut_short_is_noticed_and_healed_from_landing(
    loader_home: LoaderHome, killer: Callable[..., dict[str, Any]]
) -> None:
    drop_mixed_month(loader_home)
    # A process that ends without closing the database leaves its last batches in the log.
    assert killer(loader_home, step="ledger.Ledger.write_head", when="after", call=1)["killed"]
    log = loader_home.path / "warehouse.duckdb.wal"
    whole_size = log.stat().st_size
    os.truncate(log, whole_size // 3)

    lost = missing_batches(loader_home)
    loader_home.load()

    assert 0 < lost < 9
    assert missing_batches(loader_home) == 0
    assert loader_home.query(DIFFERENCES_SQL) == []
    assert sum(counts(loader_home)[name][1] for name in counts(loader_home)) == 71


# ---------------------------------------------------------------- price catalogs


def price_entries(home: LoaderHome) -> list[tuple[Any, ...]]:
    return home.query("""
        select observed_at, price_key, snapshot_sha256[:4]
        from raw.price_catalog__entries order by all
        """)


def catalog_of(price: float, **more: Any) -> str:
    return json.dumps({"m": {"input_cost_per_token": price, "mode": "chat"}, **more})


def observed(home: LoaderHome) -> list[str]:
    return [f"{moment:%Y-%m-%d %H:%M}" for moment, *_ in price_entries(home)]


def test_a_catalog_is_observed_when_its_name_says_so(loader_home: LoaderHome) -> None:
    name = "prices.observed-20260401T093000Z.json"
    stated = {"observed_at": "2026-05-01T00:00:00Z"}
    loader_home.drop(name, catalog_of(1e-06, **stated), source=PRICES)

    (batch,) = loader_home.load().batches

    assert (batch.rows_in, batch.rows_loaded) == (1, 1)
    assert observed(loader_home) == ["2026-04-01 09:30"]


def test_a_catalog_is_else_observed_when_it_says_so_itself(loader_home: LoaderHome) -> None:
    stated = {"observed_at": "2026-05-01T02:00:00+02:00"}
    loader_home.drop("prices.json", catalog_of(1e-06, **stated), source=PRICES)

    loader_home.load()

    assert observed(loader_home) == ["2026-05-01 00:00"]


def test_a_catalog_is_else_observed_when_it_is_first_loaded_and_that_is_remembered(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    loader_home.drop("prices.json", catalog_of(1e-06), source=PRICES)
    loader_home.load(as_of="2026-06-01T10:00:00Z")
    shutil.copytree(loader_home.landing, second_loader_home.landing, dirs_exist_ok=True)

    second_loader_home.load(as_of="2026-09-01T00:00:00Z")

    assert observed(second_loader_home) == observed(loader_home) == ["2026-06-01 10:00"]


def test_a_catalog_that_comes_back_later_is_a_new_observation(loader_home: LoaderHome) -> None:
    a, b = catalog_of(1e-06), catalog_of(2e-06)
    for name, data in (("20260401", a), ("20260501", b), ("20260601", a)):
        loader_home.drop(f"p.observed-{name}T000000Z.json", data, source=PRICES)
        loader_home.load()

    assert observed(loader_home) == ["2026-04-01 00:00", "2026-05-01 00:00", "2026-06-01 00:00"]
    hashes = [sha256 for *_, sha256 in price_entries(loader_home)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert loader_home.query("select count(*) from raw.price_catalog__prices") == [(2,)]


def test_an_observation_that_comes_twice_is_already_known(loader_home: LoaderHome) -> None:
    a, b = catalog_of(1e-06), catalog_of(2e-06)
    for name, data in (("20260401", a), ("20260501", b), ("20260601", a)):
        loader_home.drop(f"p.observed-{name}T000000Z.json", data, source=PRICES)
    loader_home.load()
    loader_home.drop("copy.observed-20260601T000000Z.json", a, source=PRICES)
    loader_home.drop("copy.json", a, source=PRICES)

    report = loader_home.load()

    assert [batch.status for batch in report.batches] == ["already_known", "already_known"]
    assert len(price_entries(loader_home)) == 3
