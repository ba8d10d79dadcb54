"""Databases that cannot be read, wholly or in part: one clear line each, and the next run heals."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fixtures.litellm_database import running_server, session, wait_until

from orchestration.landing.write import LandingWriter
from orchestration.sources import litellm_postgres
from orchestration.sources.litellm_postgres import Database, Dsn, SourceError

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
PASSWORD = "CANARY/pass@word:1"  # noqa: S105  # of a role of this test


def assert_one_line(lines: list[str], *words: str) -> None:
    assert len(lines) == 1, lines
    (line,) = lines
    assert "\n" not in line
    assert "CANARY" not in line
    assert all(word in line for word in words), line


def test_a_wrong_password_is_one_line_without_it(gateway: Any, server: Any) -> None:
    gateway.log(1)
    folder = server.folder
    rules = (folder / "pg_hba.conf").read_text()
    server.execute("create role reader login password 'right'")
    server.execute(
        'grant select on all tables in schema public to "reader"', database=gateway.database
    )
    (folder / "pg_hba.conf").write_text("local all reader scram-sha-256\n" + rules)
    server.execute("select pg_reload_conf()")
    try:
        gateway.configure(server.dsn(gateway.database, user="reader", password=PASSWORD))
        refused = gateway.extract()
        gateway.configure(server.dsn(gateway.database, user="reader", password="right"))  # noqa: S106
        healed = gateway.extract()
    finally:
        (folder / "pg_hba.conf").write_text(rules)
        server.execute("select pg_reload_conf()")

    assert_one_line(refused.problems, "refused the login", "dsn")
    assert healed.problems == []
    assert healed.rows["litellm_spend_logs"] == 1


def test_a_refused_connection_is_tried_again_and_then_named(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    connect = litellm_postgres._connect
    monkeypatch.setattr(
        litellm_postgres, "_connect", lambda uri: (tries.append(uri), connect(uri))[1]
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gateway.configure(f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/litellm")

    report = gateway.extract()

    assert_one_line(report.problems, "nothing answers there", "next run")
    assert len(tries) == 3


def test_a_database_that_is_not_there_is_named(gateway: Any, server: Any) -> None:
    gateway.configure(server.dsn("no_such_database"))

    assert_one_line(gateway.extract().problems, "no database of that name")


def test_a_dsn_with_a_bare_slash_in_its_password_tells_nothing_of_it(gateway: Any) -> None:
    gateway.configure(f"postgresql://user:{PASSWORD}@localhost/litellm")

    report = gateway.extract()

    assert len(report.problems) == 1
    assert not any(part in report.problems[0] for part in ("CANARY", "pass", "word:1"))


def test_a_missing_needed_column_is_named_and_the_other_tables_go_on(gateway: Any) -> None:
    gateway.execute(
        'alter table "LiteLLM_SpendLogs" rename column spend to cost',
        "insert into \"LiteLLM_TeamTable\" (team_id, team_alias) values ('t', 'T')",
    )

    report = gateway.extract()

    assert_one_line(report.problems, "LiteLLM_SpendLogs", '"spend"')
    assert report.rows["owners"] == 1
    gateway.execute('alter table "LiteLLM_SpendLogs" rename column cost to spend')
    gateway.log(1)
    assert gateway.extract().rows["litellm_spend_logs"] == 1


def test_a_missing_owner_column_is_left_out_and_a_missing_id_is_named(gateway: Any) -> None:
    gateway.execute(
        'alter table "LiteLLM_VerificationToken" drop column metadata, drop column team_id',
        'insert into "LiteLLM_VerificationToken" (token) values (\'' + "a" * 64 + "')",
        'alter table "LiteLLM_TeamTable" rename column team_id to id',
    )
    gateway.log(1)

    report = gateway.extract()

    assert_one_line(report.problems, "LiteLLM_TeamTable", '"team_id"')
    assert (report.rows["owners"], report.rows["litellm_spend_logs"]) == (1, 1)


def test_a_database_without_litellm_is_named(gateway: Any, server: Any) -> None:
    gateway.configure(server.dsn("postgres"))

    assert_one_line(gateway.extract().problems, 'no table "LiteLLM_SpendLogs"')


def test_a_permission_that_is_missing_is_named(gateway: Any, server: Any) -> None:
    gateway.log(1)
    gateway.execute(
        "create role partial login",
        'grant select (request_id, "startTime", spend) on "LiteLLM_SpendLogs" to partial',
    )
    gateway.configure(server.dsn(gateway.database, user="partial"))

    report = gateway.extract()

    gateway.execute("drop owned by partial", "drop role partial")
    assert any("no permission" in line and '"api_key"' in line for line in report.problems)


def test_a_table_without_the_index_is_never_scanned(gateway: Any) -> None:
    gateway.execute(
        'drop index "LiteLLM_SpendLogs_startTime_idx"',
        'drop index "LiteLLM_SpendLogs_startTime_request_id_idx"',
    )
    gateway.log(1)

    assert_one_line(gateway.extract().problems, "no index", "create index")


def test_a_schema_named_as_prisma_does_is_read(gateway: Any, server: Any) -> None:
    gateway.log(1)
    gateway.execute(
        "create schema gateway",
        *(
            f'alter table "{name}" set schema gateway'
            for (name,) in gateway.query(
                "select table_name::text from information_schema.tables "
                "where table_schema = 'public'"
            )
        ),
    )
    dsn = server.dsn(gateway.database).replace("schema=public", "schema=gateway")
    gateway.configure(dsn + "&connection_limit=10&pool_timeout=60&pgbouncer=true")

    report = gateway.extract()

    assert (report.problems, report.rows["litellm_spend_logs"]) == ([], 1)


# ---------------------------------------------------------------- servers that go away

# Of every row anew, since it reads the row.
_SLOW = "(select s.agent_id from pg_sleep(length(s.call_type) * {}))"


def terminate(gateway: Any) -> None:
    gateway.query(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'tollbook' and datname = current_database()"
    )


def test_a_connection_that_breaks_between_pages_is_opened_anew(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_postgres, "PAGE_ROWS", 10)
    gateway.log(*range(40))
    write = LandingWriter.write
    broken: list[int] = []

    def interrupt(self: Any, rows: Any) -> None:
        if len(broken) < 2:
            terminate(gateway)
            broken.append(rows.num_rows)
        write(self, rows)

    monkeypatch.setattr(LandingWriter, "write", interrupt)

    report = gateway.extract()

    assert report.problems == []
    assert report.rows["litellm_spend_logs"] == 40


def test_a_server_that_closes_the_connection_mid_read_is_named_and_healed(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.log(*range(20))
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.is_set():
            terminate(gateway)
            time.sleep(0.01)

    # Every row takes its time, so that the read is met in its middle.
    columns = litellm_postgres._spend_log_columns

    def slowly(types: Any, privacy: Any) -> dict[str, str]:
        return {**columns(types, privacy), "agent_id": _SLOW.format(0.002)}

    monkeypatch.setattr(litellm_postgres, "_spend_log_columns", slowly)
    inspected = litellm_postgres.inspect
    killer = threading.Thread(target=interrupt)

    def inspect_then_break(database: Any) -> Any:
        shape = inspected(database)
        killer.start()
        return shape

    monkeypatch.setattr("orchestration.landing.extract.litellm.inspect", inspect_then_break)
    report = gateway.extract("sync")
    stop.set()
    killer.join()
    monkeypatch.undo()

    assert_one_line(report.problems, "closed the connection", "next run")
    assert gateway.extract().rows["litellm_spend_logs"] == 20


def test_a_page_that_takes_too_long_is_asked_for_in_smaller_ones(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.log(*range(40))
    config = gateway.home / "tollbook.yml"
    config.write_text(
        config.read_text().replace("gateway: litellm,", "gateway: litellm, statement_timeout: 2s,")
    )
    with session(gateway.server, gateway.database) as run:
        # As in a table too large to be sorted: rows come by the index, a page at a time.
        run(f'alter database "{gateway.database}" set enable_sort = off')
    monkeypatch.setattr(litellm_postgres, "_FEWEST_PAGE_ROWS", 5)
    columns = litellm_postgres._spend_log_columns

    def slowly(types: Any, privacy: Any) -> dict[str, str]:
        return {**columns(types, privacy), "agent_id": _SLOW.format(0.01)}

    monkeypatch.setattr(litellm_postgres, "_spend_log_columns", slowly)
    monkeypatch.setattr(litellm_postgres, "PAGE_ROWS", 40)
    pages: list[int] = []
    write = LandingWriter.write
    monkeypatch.setattr(
        LandingWriter, "write", lambda self, rows: (pages.append(rows.num_rows), write(self, rows))
    )

    report = gateway.extract("sync")

    assert report.problems == []
    assert report.rows["litellm_spend_logs"] == sum(pages) == 40
    # A busy machine may need smaller pages still; never the whole table at once.
    assert max(pages) in (5, 10)


def test_a_locked_table_is_not_waited_for(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_postgres, "LOCK_TIMEOUT_MS", 200)
    gateway.log(1)
    with session(gateway.server, gateway.database) as run:
        run("begin")
        run('lock table "LiteLLM_SpendLogs" in access exclusive mode')
        report = gateway.extract("sync")
        run("rollback")

    assert_one_line(report.problems, "locked")
    assert gateway.extract("sync").rows["litellm_spend_logs"] == 1


# ---------------------------------------------------------------- replicas


@contextmanager
def replica(gateway: Any) -> Iterator[Any]:
    with running_server(of=gateway.server) as standby:
        yield standby


def test_a_replica_behind_is_read_as_far_as_it_is_and_the_rest_later(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_postgres, "REPLICA_DELAY", timedelta(seconds=1))
    gateway.log(1)
    with replica(gateway) as standby:
        gateway.configure(standby.dsn(gateway.database))
        wait_until(lambda: standby.query("select pg_is_in_recovery()") == [(True,)])
        standby.execute("select pg_wal_replay_pause()")
        gateway.log(2, start=NOON + timedelta(minutes=1))
        gateway.log(3, start=NOON - timedelta(minutes=10))
        wait_until(
            lambda: (
                standby.query("select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
                == [(True,)]
            )
        )
        time.sleep(1.2)

        behind = gateway.extract()
        standby.execute("select pg_wal_replay_resume()")
        caught_up = 'select count(*) from "LiteLLM_SpendLogs"'
        wait_until(lambda: standby.query(caught_up, gateway.database) == [(3,)])
        gateway.as_of = NOON + timedelta(minutes=5)
        healed = gateway.extract()

    assert (behind.problems, behind.rows["litellm_spend_logs"]) == ([], 1)
    assert_one_line(behind.notes, "replica", "behind", "a later run")
    assert (healed.notes, healed.rows["litellm_spend_logs"]) == ([], 2)


def test_a_replica_of_a_primary_at_rest_is_not_behind(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_postgres, "REPLICA_DELAY", timedelta(0))
    gateway.log(1)
    with replica(gateway) as standby:
        gateway.configure(standby.dsn(gateway.database))
        streaming = "select count(*) from pg_stat_wal_receiver"
        wait_until(lambda: standby.query(streaming) == [(1,)])
        at_rest = "select pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
        wait_until(lambda: standby.query(at_rest) == [(True,)])

        assert gateway.extract().notes == []


# ---------------------------------------------------------------- beside other sources


def test_a_source_that_fails_leaves_the_others_loaded(gateway: Any, server: Any) -> None:
    gateway.configure(
        server.dsn("no_such_database"),
        more="  - {name: other, kind: litellm_postgres, gateway: b, dsn: "
        f'"{server.dsn(gateway.database).replace("postgres@", "${TOLLBOOK_TEST_USER}@")}"}}',
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOLLBOOK_TEST_USER", "postgres")
        gateway.log(1)
        steps = gateway.steps()
        report = steps.extract()
        steps.load()

        failed, read = report.sources
        assert (bool(failed.problems), read.problems) == (True, [])
        assert report.problems == [f"live: {failed.problems[0]}"]
        assert gateway.raw("select count(*) from raw.litellm__spend_logs") == [(1,)]
        assert gateway.raw(
            "select step, status from audit.runs where step like 'extract%' order by step"
        ) == [("extract", "done"), ("extract live", "failed"), ("extract other", "done")]


@pytest.mark.parametrize(
    ("dsn", "schema", "kept"),
    [
        ("postgresql://u:p@h:5432/d?schema=s&connection_limit=5&sslmode=require", "s", "sslmode"),
        ("postgres://u:p%40@h/d", None, "application_name=tollbook"),
    ],
)
def test_a_dsn_keeps_what_libpq_knows(dsn: str, schema: str | None, kept: str) -> None:
    parsed = Dsn.parse(dsn)

    assert parsed.schema == schema
    assert kept in parsed.uri
    assert "connection_limit" not in parsed.uri
    assert "p%40" not in repr(parsed)


def test_what_is_no_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(SourceError) as refused:
        Database("host=h password=CANARY", statement_timeout=timedelta(seconds=1))

    assert "CANARY" not in str(refused.value)
