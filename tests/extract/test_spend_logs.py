"""LiteLLM_SpendLogs live: every row once, whenever it comes, changes, or a run is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fixtures.litellm_database import AGES, columns_of, spend_log, upgrade, wait_until

from orchestration.landing import extract as extraction
from orchestration.landing.kinds import ROW_KINDS
from orchestration.sources import litellm_postgres
from orchestration.sources.records import RecordContext

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
MINUTE = timedelta(minutes=1)
NEWEST = """
    select request_id, started_at, api_key_id, spend, prompt_tokens, status, cost_center
    from raw.litellm__spend_logs
    qualify row_number() over (
        partition by request_id, started_at, api_key_id
        order by source_version_at desc nulls last, observed_at desc nulls last, _row_hash desc
    ) = 1
    order by request_id
    """


def source_state(gateway: Any) -> list[tuple[Any, ...]]:
    rows = gateway.query(
        'select request_id, "startTime", api_key, spend::text, prompt_tokens, '
        "coalesce(to_jsonb(s)->>'status', metadata->>'status'), "
        "metadata->'spend_logs_metadata'->>'Cost-Center' from \"LiteLLM_SpendLogs\" s order by 1"
    )
    return [(*row[:3], Decimal(row[3]), *row[4:]) for row in rows]


def warehouse_state(gateway: Any) -> list[tuple[Any, ...]]:
    return gateway.raw(NEWEST)


def run(gateway: Any, depth: str = "hourly") -> int:
    """Extract and load once; rows landed."""
    report = gateway.extract(depth)
    assert report.problems == []
    gateway.load()
    return report.rows.get("litellm_spend_logs", 0)


@pytest.mark.parametrize("age", AGES)
def test_every_row_of_a_gateway_of_any_age_is_loaded_once(
    age: str, make_gateway: Callable[..., Any]
) -> None:
    gateway = make_gateway(age)
    for number in range(30):
        gateway.log(number, start=NOON - 100 * number * MINUTE)

    landed = run(gateway)

    assert landed == 30
    assert warehouse_state(gateway) == source_state(gateway)
    assert gateway.raw("select distinct codes, rows_quarantined from audit.load_batches") == [
        ("", 0)
    ]


def test_money_and_times_are_the_texts_the_database_means(gateway: Any) -> None:
    amounts = ("0.1", "1e-07", "0.30000000000000004", "123456.789", "5e-324", "0")
    for number, amount in enumerate(amounts):
        gateway.log(number, spend=float(amount), start=NOON - timedelta(milliseconds=number))

    run(gateway)

    found = gateway.raw("select spend, started_at from raw.litellm__spend_logs order by request_id")
    assert [spend for spend, _ in found] == [
        Decimal(amount).quantize(Decimal("1e-18")) for amount in amounts
    ]
    assert found[1][1] == NOON - timedelta(milliseconds=1)


def test_a_landed_row_reads_as_the_whole_row_would(gateway: Any) -> None:
    row = spend_log(
        1, start=NOON, updated_at="2026-11-01T12:00:05", created_at="2026-11-01T12:00:05"
    )
    gateway.log(1, updated_at=row["updated_at"], created_at=row["created_at"])
    gateway.extract()
    (path,) = gateway.landed()
    (landed,) = pq.read_table(path).to_pylist()
    context = RecordContext(as_of=NOON)
    kind = ROW_KINDS["litellm_spend_logs"]

    expected, found = kind.read(row, context).values, kind.read(landed, context).values

    for record in (expected, found):
        for name in ("observed_at", "source_hash"):
            record.pop(name, None)
    assert {k: v for k, v in found.items() if v is not None} == {
        k: v for k, v in expected.items() if v is not None
    }


def test_a_second_look_lands_nothing_and_later_rows_alone(gateway: Any) -> None:
    gateway.log(*range(20))
    run(gateway)

    again = run(gateway)
    gateway.log(20, start=NOON + MINUTE)
    gateway.log(21, start=NOON - 170 * MINUTE)
    later = run(gateway)

    assert (again, later) == (0, 2)
    assert warehouse_state(gateway) == source_state(gateway)


def test_a_day_without_changes_lands_its_own_bytes_once(gateway: Any) -> None:
    for number in range(200):
        gateway.log(number, start=NOON - 5 * number * MINUTE)
    gateway.configure(after_load="keep")
    run(gateway)
    own = sum(path.stat().st_size for path in gateway.landed())

    # The first of them re-reads a week, the last two days, the others hours and minutes.
    for hour in (0, 1, 2, 12, 24):
        gateway.as_of = NOON + timedelta(hours=hour)
        run(gateway)
        run(gateway, "sync")

    assert sum(path.stat().st_size for path in gateway.landed()) <= 1.05 * own


def test_rows_that_were_landed_and_not_loaded_do_not_land_again(gateway: Any) -> None:
    gateway.log(*range(10))

    first, second = gateway.extract(), gateway.extract()

    assert (first.rows["litellm_spend_logs"], second.rows["litellm_spend_logs"]) == (10, 0)
    (batch,) = gateway.load()
    assert batch.rows_loaded == 10


def test_refused_rows_do_not_land_again(gateway: Any) -> None:
    gateway.log(1, spend="NaN")
    gateway.log(2)

    assert (run(gateway), run(gateway)) == (2, 0)
    assert gateway.raw("select count(*) from audit.quarantine") == [(1,)]


def test_a_changed_row_lands_as_a_restatement(gateway: Any) -> None:
    gateway.log(1, 2, 3)
    run(gateway)
    gateway.execute(
        "update \"LiteLLM_SpendLogs\" set spend = 9.5, updated_at = now() + interval '1 s' "
        "where request_id = 'chatcmpl-00000002'"
    )

    landed = run(gateway)

    assert landed == 1
    assert warehouse_state(gateway) == source_state(gateway)
    assert gateway.raw("select count(*) from raw.litellm__spend_logs") == [(4,)]


@pytest.mark.parametrize(
    ("depth", "minutes", "is_read"),
    [("sync", 14, True), ("sync", 16, False), ("hourly", 179, True), ("hourly", 181, False)],
)
def test_each_job_re_reads_as_far_as_its_lateness(
    depth: str, minutes: int, is_read: bool, gateway: Any
) -> None:
    gateway.log(1)
    # The first hourly run of a day re-reads two days, so that day's is done before.
    run(gateway)
    gateway.as_of = NOON + MINUTE
    gateway.log(2, start=NOON - minutes * MINUTE)

    landed = run(gateway, depth)

    assert landed == (1 if is_read else 0)


def test_a_daily_re_read_finds_what_the_hourly_one_missed(gateway: Any) -> None:
    gateway.log(1)
    run(gateway)
    gateway.log(2, start=NOON - timedelta(hours=47))

    gateway.as_of = NOON + timedelta(hours=1)
    hourly = run(gateway)
    gateway.as_of = NOON + timedelta(hours=24)
    daily = run(gateway)

    assert (hourly, daily) == (0, 1)


def test_a_weekly_re_read_goes_further_back(gateway: Any) -> None:
    gateway.log(1)
    run(gateway)
    gateway.log(2, start=NOON - timedelta(days=6))

    gateway.as_of = NOON + timedelta(days=1)
    daily = run(gateway)
    gateway.as_of = NOON + timedelta(days=7)
    weekly = run(gateway)

    assert (daily, weekly) == (0, 1)


def test_a_clock_that_runs_ahead_hides_nothing(gateway: Any) -> None:
    gateway.log(1)
    gateway.log(2, start=NOON + timedelta(hours=20))
    run(gateway)

    gateway.log(3, start=NOON + timedelta(hours=2))
    gateway.as_of = NOON + timedelta(hours=19)

    assert run(gateway) == 1
    assert warehouse_state(gateway) == source_state(gateway)


def test_the_migration_that_adds_columns_is_followed(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(AGES[0])
    gateway.log(1, 2)
    run(gateway)
    for age in AGES[1:]:
        upgrade(gateway.server, gateway.database, age)
        gateway.read_columns()
        gateway.log(3 + AGES.index(age), start=NOON + MINUTE)
        run(gateway)

    assert warehouse_state(gateway) == source_state(gateway)
    assert run(gateway) == 0


def test_nullable_columns_added_by_a_migration_change_no_row(
    make_gateway: Callable[..., Any],
) -> None:
    gateway = make_gateway(AGES[0])
    gateway.log(1, 2)
    run(gateway)
    upgrade(gateway.server, gateway.database, AGES[1])

    assert run(gateway) == 0


def test_small_pages_and_files_tell_the_same(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_postgres, "PAGE_ROWS", 7)
    monkeypatch.setattr(extraction, "_IDS_AT_ONCE", 3)
    # Many rows share one start: the request id alone tells them apart.
    gateway.log(*range(40))
    gateway.log(*range(40, 60), start=NOON + MINUTE)
    assert run(gateway) == 60
    gateway.execute('update "LiteLLM_SpendLogs" set spend = spend + 1, updated_at = now()')

    assert run(gateway) == 60
    assert warehouse_state(gateway) == source_state(gateway)


def test_nothing_older_than_since_is_asked_for(gateway: Any) -> None:
    gateway.log(1, start=NOON - timedelta(days=30))
    gateway.log(2)
    config = gateway.home / "tollbook.yml"
    config.write_text(
        config.read_text().replace("gateway: litellm,", "gateway: litellm, since: 2026-10-15,")
    )

    assert run(gateway) == 1


def test_the_union_of_runs_is_the_final_table_while_it_is_written(gateway: Any) -> None:
    """Rows are inserted late and out of order and updated by another connection all the while."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        number = 0
        try:
            while not stop.is_set():
                late = timedelta(seconds=(number * 37) % 600)
                gateway.log(number, start=NOON + number * timedelta(seconds=1) - late)
                if number % 3 == 0:
                    changed = f"chatcmpl-{(number * 7) % (number + 1):08}"
                    gateway.execute(
                        f'update "LiteLLM_SpendLogs" set spend = spend + 1, '
                        f"updated_at = clock_timestamp() where request_id = '{changed}'"
                    )
                number += 1
        except BaseException as error:  # told to the test
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for minute in range(6):
            gateway.as_of = NOON + minute * MINUTE
            run(gateway, "sync" if minute % 2 else "hourly")
    finally:
        stop.set()
        writer.join()
    gateway.as_of = NOON + timedelta(hours=1)
    run(gateway)

    assert failures == []
    assert warehouse_state(gateway) == source_state(gateway)
    assert run(gateway) == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from orchestration.config import read_runtime
from orchestration.defs.steps import RunLog, Steps
from orchestration.landing import long_rereads, write
from orchestration.sources import litellm_postgres
home, place = Path(sys.argv[1]), sys.argv[2]
litellm_postgres.PAGE_ROWS = 10
write.LandingWriter.__init__.__kwdefaults__["file_rows"] = 20
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
holder, name = {
    "page": (write.LandingWriter, "write"),
    "rename": (write.os, "link"),
    "unlink": (write, "_sync_folder"),
    "notes": (long_rereads.LongRereads, "remember"),
    "load": (Steps, "load"),
}[place]
real = getattr(holder, name)
count = [0]
def counted(*arguments, **options):
    count[0] += 1
    if count[0] > int(sys.argv[3]):
        die()
    return real(*arguments, **options)
setattr(holder, name, counted)
runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of="2026-11-01T12:00:00Z")
steps = Steps(runtime=runtime, run="test", log=RunLog(), progress=lambda _line: None)
steps.extract()
steps.load()
"""


@pytest.mark.parametrize(
    ("place", "after"), [("page", 3), ("rename", 1), ("unlink", 1), ("notes", 0), ("load", 0)]
)
def test_a_killed_run_loses_and_doubles_nothing(place: str, after: int, gateway: Any) -> None:
    for number in range(55):
        gateway.log(number, start=NOON - number * MINUTE)

    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(gateway.home), place, str(after)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    run(gateway)

    assert warehouse_state(gateway) == source_state(gateway)
    assert gateway.raw("select count(*) from raw.litellm__spend_logs") == [(55,)]
    assert [path for path in gateway.landed() if path.name.endswith(".part")] == []
    # What had its name when the run was killed is not landed a second time.
    assert sum(batch[0] for batch in gateway.raw("select rows_in from audit.load_batches")) == 55


def test_a_rebuild_from_landing_alone_gives_the_same_and_asks_for_nothing_again(
    gateway: Any,
) -> None:
    gateway.log(*range(20))
    run(gateway)
    before = gateway.raw(
        "select * exclude (_load_batch_id) from raw.litellm__spend_logs order by all"
    )
    (gateway.home / "warehouse.duckdb").unlink()
    gateway.load()

    assert (
        gateway.raw("select * exclude (_load_batch_id) from raw.litellm__spend_logs order by all")
        == before
    )
    assert run(gateway) == 0


def test_content_secrets_and_unnamed_metadata_never_leave_the_database(gateway: Any) -> None:
    gateway.log(1, 2, api_key="sk-CANARYrawkeyinlog1", session_id="sk-CANARYsession12345")
    gateway.log(3, spend="NaN", metadata={"prompt": "CANARY-CONTENT", "status": "success"})
    gateway.log(4, metadata=["CANARY-CONTENT in a list"])
    gateway.log(5, metadata="CANARY-CONTENT as text")
    gateway.execute(
        'insert into "LiteLLM_VerificationToken" (token, key_alias, metadata) values '
        '(\'sk-CANARYtokenrow1\', \'a\', \'{"note": "CANARY-CONTENT", "tags": ["CANARY: x"]}\')'
    )
    gateway.configure(after_load="keep")
    said: list[str] = []
    log = gateway.steps(said.append)

    log.extract()
    log.load()

    assert gateway.raw("select sum(rows_in) from audit.load_batches") == [(6,)]
    for path in gateway.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
            assert b"CANARY" not in content, path
    everything = gateway.raw("select * from raw.litellm__spend_logs")
    assert "CANARY" not in f"{everything}{said}"


def test_what_is_asked_of_the_database_names_no_content(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = litellm_postgres.Database._read_once

    def listen(self: Any, sql: str) -> Any:
        asked.append(sql)
        return read(self, sql)

    monkeypatch.setattr(litellm_postgres.Database, "_read_once", listen)
    gateway.log(1)
    gateway.extract()
    gateway.log(2)
    gateway.extract()

    assert len(asked) > 10
    for sql in asked:
        words = set(sql.replace('"', " ").replace(".", " ").replace(",", " ").split())
        assert not words & {"messages", "response", "proxy_server_request", "*"} - {"*"}
        assert "s.*" not in sql
        assert "error_message" not in sql
        assert "traceback" not in sql


@pytest.mark.parametrize(("setting", "kept"), [("keep", True), ("drop", False)])
def test_personal_fields_are_asked_for_where_they_are_kept_alone(
    setting: str, kept: bool, gateway: Any
) -> None:
    config = gateway.home / "tollbook.yml"
    config.write_text(
        config.read_text()
        + f"privacy: {{client_ip: {setting}, user_agent: {setting}, user_id: {setting}}}\n"
    )
    gateway.log(1, metadata={"user_agent": "agent/1", "user_api_key_user_id": "user-1"})
    gateway.execute(
        "insert into \"LiteLLM_UserTable\" (user_id, user_alias) values ('user-1', 'Una')"
    )

    gateway.extract()

    content = "".join(str(pq.read_table(path).to_pylist()) for path in gateway.landed())
    for personal in ("10.9.8.7", "agent/1", "user-1", "Una"):
        assert (personal in content) is kept, personal


def test_no_transaction_outlives_its_query(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_postgres, "PAGE_ROWS", 5)
    gateway.log(*range(30))
    seen: list[Any] = []
    write = extraction.LandingWriter.write

    def watch(self: Any, rows: Any) -> None:
        wait_until(lambda: _at_rest(gateway))
        seen.append(gateway.query(_SESSIONS))
        write(self, rows)

    monkeypatch.setattr(extraction.LandingWriter, "write", watch)
    gateway.extract()

    assert len(seen) >= 6
    assert {state for sessions in seen for (state,) in sessions} == {"idle"}


_SESSIONS = """
    select state from pg_stat_activity
    where application_name = 'tollbook' and datname = current_database()
    """


def _at_rest(gateway: Any) -> bool:
    return all(state == "idle" for (state,) in gateway.query(_SESSIONS))


def test_the_table_may_be_partitioned_by_day(gateway: Any) -> None:
    columns = columns_of(gateway.server, gateway.database, "LiteLLM_SpendLogs")
    gateway.execute(
        'alter table "LiteLLM_SpendLogs" rename to old',
        'create table "LiteLLM_SpendLogs" (like old including defaults) '
        'partition by range ("startTime")',
        'alter table "LiteLLM_SpendLogs" add primary key (request_id, "startTime")',
        'create index on "LiteLLM_SpendLogs" ("startTime", request_id)',
        'create table p1 partition of "LiteLLM_SpendLogs" '
        "for values from ('2026-10-31') to ('2026-11-01')",
        'create table p2 partition of "LiteLLM_SpendLogs" default',
    )
    assert columns
    for number in range(20):
        gateway.log(number, start=NOON - number * 60 * MINUTE)

    run(gateway)

    assert warehouse_state(gateway) == source_state(gateway)
