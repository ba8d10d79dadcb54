"""A LiteLLM database of any size on a PostgreSQL server of its own, as the tests have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fixtures.litellm_database import (
    AGES,
    Server,
    create_tables,
    running_server,
    session,
)

# Rows of one insert: a transaction of this size keeps memory low.
_AT_ONCE = 250_000
# A call every other second up to this moment, with about 1.5 kB of metadata that is not ours.
LAST = "2026-09-29 23:00:00"
_ROWS = """
insert into "LiteLLM_SpendLogs" (
    request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens,
    "startTime", "endTime", model, model_group, custom_llm_provider, api_base, "user", metadata,
    cache_hit, request_tags, team_id, end_user, messages, response, session_id, status,
    litellm_call_id, created_at, updated_at
)
select 'chatcmpl-' || md5(i::text), 'acompletion', repeat(md5((i % 200)::text), 2),
    (i % 1000) * 0.000123, 1500 + i % 300, 1000 + i % 300, 500, t, t + interval '3 seconds',
    'openai/gpt-4o-mini', 'gpt-4o-mini', 'openai', 'https://api.openai.com/v1', 'user-' || i % 50,
    jsonb_build_object(
        'user_api_key_alias', 'key-' || i % 200,
        'user_api_key_team_alias', 'team ' || i % 20,
        'status', 'success',
        'usage_object', jsonb_build_object(
            'prompt_tokens', 1000 + i % 300, 'completion_tokens', 500,
            'total_tokens', 1500 + i % 300,
            'prompt_tokens_details', jsonb_build_object('cached_tokens', i % 1000),
            'completion_tokens_details', jsonb_build_object('reasoning_tokens', 100)
        ),
        'cost_breakdown', jsonb_build_object('input_cost', 0.001, 'service_tier', 'default'),
        'spend_logs_metadata', jsonb_build_object('cost_center', 'CC-' || i % 20, 'note', 'x'),
        'requester_metadata', jsonb_build_object('notes', repeat(md5(i::text), 40))
    ),
    'False', '["env:prod", "User-Agent: python"]', 'team-' || i % 20, 'customer-' || i % 500,
    '{{}}', '{{}}', 'session-' || i / 5, 'success', md5('c' || i), t, t
from (
    select
        i,
        timestamp '{last}' - (({rows}::bigint - i) * {step_ms}) * interval '1 millisecond' as t
    from generate_series({first}, {end}) as i
) as calls
"""

# What a line has, and as what it is read; the CSV's columns in this order.
COPIED = {
    "request_id": "varchar",
    "call_type": "varchar",
    "api_key": "varchar",
    "spend": "double",
    "total_tokens": "integer",
    "prompt_tokens": "integer",
    "completion_tokens": "integer",
    "startTime": "varchar",
    "endTime": "varchar",
    "request_duration_ms": "integer",
    "model": "varchar",
    "model_group": "varchar",
    "custom_llm_provider": "varchar",
    "user": "varchar",
    "metadata": "json",
    "cache_hit": "varchar",
    "request_tags": "json",
    "team_id": "varchar",
    "organization_id": "varchar",
    "end_user": "varchar",
    "session_id": "varchar",
    "status": "varchar",
    "updated_at": "varchar",
}


@contextmanager
def empty_litellm_server(lines: Path) -> Iterator[tuple[Server, Path]]:
    """A running server with LiteLLM's empty tables and memory to spare; the lines as CSV beside it.

    Args:
        lines: Spend logs as JSON lines, each request once: the table has a primary key.
    """
    with running_server(shared_buffers="2GB") as server:
        create_tables(server, "litellm", AGES[-1])
        file = server.sockets / "logs.csv"
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (from read_json('{lines}', columns = {COPIED}, "
                f"format = 'newline_delimited')) to '{file}' (format csv, header)"
            )
        file.chmod(0o644)
        yield server, file


@contextmanager
def litellm_server(
    rows: int, *, age: str = AGES[-1], days: int = 0
) -> Iterator[tuple[Server, str]]:
    """A running server and its dsn, with so many spend logs over so many days before LAST."""
    with running_server() as server:
        create_tables(server, "litellm", age)
        step_ms = max(1, days * 86_400_000 // rows) if days else 2_000
        with session(server, "litellm") as run:
            for first in range(1, rows + 1, _AT_ONCE):
                end = min(first + _AT_ONCE - 1, rows)
                run(_ROWS.format(first=first, end=end, rows=rows, step_ms=step_ms, last=LAST))
            run('vacuum analyze "LiteLLM_SpendLogs"')
        yield server, server.dsn("litellm")
