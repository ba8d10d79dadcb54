"""`tollbook doctor` and LiteLLM's database: what is wrong and how to mend it, without a secret."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fixtures.litellm_database import running_server, wait_until

from orchestration.cli import invoke
from orchestration.landing.examine import Finding, Verdict, examine_sources
from orchestration.sources import litellm_postgres

PASSWORD = "CANARY/pass@word:1"  # noqa: S105  # of a role of this test


def examine(gateway: Any) -> list[Finding]:
    return list(examine_sources(gateway.runtime()))


def assert_one(found: list[Finding], verdict: Verdict, *words: str) -> None:
    assert len(found) == 1, found
    (finding,) = found
    assert (finding.subject, finding.verdict) == ("live", verdict)
    assert "\n" not in finding.text
    assert "CANARY" not in finding.text
    assert "next run" not in finding.text
    assert all(word in finding.text for word in words), finding.text


def test_a_database_that_can_be_read_is_ok_and_nothing_is_landed(gateway: Any) -> None:
    gateway.log(1)

    assert_one(examine(gateway), Verdict.ok, "connects", "spend logs")
    assert gateway.landed() == []


def test_every_age_of_the_gateway_is_ok(make_gateway: Any) -> None:
    from fixtures.litellm_database import AGES

    assert_one(examine(make_gateway(AGES[0])), Verdict.ok, "connects")


def test_the_command_fails_for_a_wrong_password_and_never_says_it(
    gateway: Any, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = (server.folder / "pg_hba.conf").read_text()
    server.execute("create role patient login password 'right'")
    (server.folder / "pg_hba.conf").write_text("local all patient scram-sha-256\n" + rules)
    server.execute("select pg_reload_conf()")
    config = str(gateway.home / "tollbook.yml")
    try:
        gateway.configure(server.dsn(gateway.database, user="patient", password=PASSWORD))
        code = invoke(["doctor", "--config", config, "--home", str(gateway.home)])
    finally:
        (server.folder / "pg_hba.conf").write_text(rules)
        server.execute("select pg_reload_conf()", "drop role patient")

    said = capsys.readouterr()
    assert code == 1
    assert "failed   live: the database refused the login; check the user and password" in said.out
    assert "failed: 1" in said.out
    assert not any(part in said.out + said.err for part in (PASSWORD, quote(PASSWORD, safe="")))


def test_a_host_that_is_not_known_is_named_so(gateway: Any) -> None:
    gateway.configure(f"postgresql://u:{quote(PASSWORD, safe='')}@no-such-host.invalid/litellm")

    assert_one(examine(gateway), Verdict.failed, "host is not known", "dsn")


def test_a_database_without_litellm_is_named(gateway: Any, server: Any) -> None:
    gateway.configure(server.dsn("postgres"))

    assert_one(examine(gateway), Verdict.failed, 'no table "LiteLLM_SpendLogs"', "?schema=")


def test_every_table_with_a_missing_column_has_its_line(gateway: Any) -> None:
    gateway.execute(
        'alter table "LiteLLM_SpendLogs" rename column spend to cost',
        'alter table "LiteLLM_TeamTable" rename column team_id to id',
    )

    logs, teams = examine(gateway)

    assert_one([logs], Verdict.failed, "LiteLLM_SpendLogs", '"spend"')
    assert_one([teams], Verdict.failed, "LiteLLM_TeamTable", '"team_id"')


def test_every_table_without_permission_has_its_line(gateway: Any, server: Any) -> None:
    gateway.log(1)
    gateway.execute(
        "create role partial login",
        'grant select on all tables in schema public to "partial"',
        'revoke select on "LiteLLM_TeamTable", "LiteLLM_DailyTeamSpend" from partial',
        'revoke select on "LiteLLM_SpendLogs" from partial',
        'grant select (request_id, "startTime", spend, api_key, metadata, model) '
        'on "LiteLLM_SpendLogs" to partial',
    )
    gateway.configure(server.dsn(gateway.database, user="partial"))

    teams, daily, logs = examine(gateway)
    gateway.execute('revoke select (api_key) on "LiteLLM_SpendLogs" from partial')
    no_logs = [each for each in examine(gateway) if "LiteLLM_SpendLogs" in each.text]

    gateway.execute("drop owned by partial", "drop role partial")
    assert_one([teams], Verdict.failed, "LiteLLM_TeamTable", "no permission", "grant select")
    assert_one([daily], Verdict.failed, "LiteLLM_DailyTeamSpend", "no permission")
    assert_one([logs], Verdict.warning, "no permission", '"endTime"', "stays unknown")
    assert_one(no_logs, Verdict.failed, "no permission", '"api_key"')
    # What is never read needs no permission.
    assert "messages" not in logs.text
    assert '"model"' not in logs.text


def test_a_table_without_the_index_is_named_with_the_statement(gateway: Any) -> None:
    gateway.execute(
        'drop index "LiteLLM_SpendLogs_startTime_idx"',
        'drop index "LiteLLM_SpendLogs_startTime_request_id_idx"',
    )

    assert_one(examine(gateway), Verdict.failed, "create index concurrently")


def test_an_answer_that_takes_too_long_is_one_line(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = litellm_postgres.inspect
    monkeypatch.setattr(
        litellm_postgres, "inspect", lambda db: (db.read("select pg_sleep(2)::text"), inspect(db))
    )
    text = (gateway.home / "tollbook.yml").read_text()
    changed = text.replace("gateway: litellm,", "gateway: litellm, statement_timeout: 1s,")
    (gateway.home / "tollbook.yml").write_text(changed)

    assert_one(examine(gateway), Verdict.failed, "statement_timeout")


def test_a_replica_behind_is_a_warning(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_postgres, "REPLICA_DELAY", timedelta(seconds=1))
    gateway.log(1)
    with running_server(of=gateway.server) as standby:
        gateway.configure(standby.dsn(gateway.database))
        wait_until(lambda: standby.query("select pg_is_in_recovery()") == [(True,)])
        standby.execute("select pg_wal_replay_pause()")
        gateway.log(2)
        behind = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
        wait_until(lambda: standby.query(behind) == [(True,)])
        time.sleep(1.2)

        found = examine(gateway)

    assert_one(found, Verdict.warning, "replica", "minutes behind")
