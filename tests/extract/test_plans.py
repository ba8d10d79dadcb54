"""The plans of what is asked: the log table is read by its index, never scanned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from fixtures.litellm_database import AGES

from orchestration.sources import litellm_postgres

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
ROWS = 40_000


def fill(gateway: Any) -> None:
    gateway.execute(
        'insert into "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime", metadata) '
        "select 'r-' || i, 'acompletion', t, t, jsonb_build_object('status', 'success', 'x', "
        "repeat(md5(i::text), 20)) from (select i, timestamp '2026-11-01 12:00' - "
        f"i * interval '1 minute' as t from generate_series(1, {ROWS}) as i) as calls",
        'vacuum analyze "LiteLLM_SpendLogs"',
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize("age", AGES)
def test_every_query_on_the_log_table_goes_by_its_index(
    age: str, make_gateway: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make_gateway(age)
    fill(gateway)
    asked: list[str] = []
    read = litellm_postgres.Database._read_once

    def listen(self: Any, sql: str) -> Any:
        asked.append(sql)
        return read(self, sql)

    monkeypatch.setattr(litellm_postgres.Database, "_read_once", listen)
    monkeypatch.setattr(litellm_postgres, "PAGE_ROWS", 500)
    config = gateway.home / "tollbook.yml"
    config.write_text(
        config.read_text().replace("gateway: litellm,", "gateway: litellm, since: 2026-10-31,")
    )
    for _ in range(2):
        assert gateway.extract().problems == []
        gateway.load()
        gateway.execute(
            "update \"LiteLLM_SpendLogs\" set spend = 1 where request_id in ('r-5', 'r-7')"
        )

    questions = [sql for sql in asked if '"LiteLLM_SpendLogs" as s' in sql]
    assert any("in ('r-" in sql for sql in questions)
    assert any("> (timestamp" in sql for sql in questions)
    for sql in questions:
        ((text,),) = gateway.query(f"explain (format json) {sql}")
        (found,) = json.loads(text) if isinstance(text, str) else text
        tables = [each for each in nodes(found["Plan"]) if "Relation Name" in each]
        assert {each["Relation Name"] for each in tables} == {"LiteLLM_SpendLogs"}
        assert not [each for each in tables if each["Node Type"] == "Seq Scan"], sql


def test_no_query_is_without_a_bound(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = litellm_postgres.Database._read_once

    def listen(self: Any, sql: str) -> Any:
        asked.append(sql)
        return read(self, sql)

    monkeypatch.setattr(litellm_postgres.Database, "_read_once", listen)
    gateway.log(1)
    gateway.extract()

    for sql in asked:
        if '"LiteLLM_SpendLogs" as s' in sql:
            assert '"startTime" >=' in sql
            assert "limit" in sql or "request_id in (" in sql
