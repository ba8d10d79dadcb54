"""An hour of live traffic, synced while it is written and killed in between.

Rows are inserted, restated, late and out of order while `tollbook sync` runs beside them. In the
end the marts are those of one load of the whole hour.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.litellm_database import insert_sql, session, spend_log
from integration.homes import differing, hash_marts, query

TESTS = Path(__file__).resolve().parents[1]
HOUR = datetime.fromisoformat("2026-11-01T11:00:00")
TURNS = 4
STEP = timedelta(minutes=60) / TURNS
ROWS_A_TURN = 40
# It counts what was loaded, restated rows and all, and says when: that differs by design.
OF_ARRIVAL = {"source_freshness"}
PRICES = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
    }
}


class Traffic:
    """What the gateway writes, turn by turn; every turn is known beforehand by its seed."""

    def __init__(self, gateway: Any, seed: int) -> None:
        self.gateway = gateway
        self.random = random.Random(seed)  # noqa: S311  # traffic, not secrets
        self.numbers: list[int] = []

    def turn(self, turn: int) -> list[str]:
        """Statements of one turn, in the order of writing."""
        return [*self._inserts(turn), *self._restatements(turn)]

    def _inserts(self, turn: int) -> Iterator[str]:
        first = turn * ROWS_A_TURN
        numbers = list(range(first, first + ROWS_A_TURN))
        self.random.shuffle(numbers)
        for number in numbers:
            # LiteLLM writes a row when the call has ended: up to ten minutes after its start.
            late = timedelta(seconds=self.random.choice([1, 5, 20, 90, 600]))
            start = HOUR + turn * STEP + timedelta(seconds=self.random.randrange(400)) - late
            changes: dict[str, Any] = {"updated_at": (start + late).isoformat()}
            if number % 17 == 0:
                changes |= {"status": "failure", "completion_tokens": 0, "spend": 0}
            if number % 23 == 0:
                changes |= {"team_id": None, "end_user": "cust-2"}
            row = spend_log(number, start=start, **changes)
            self.numbers.append(number)
            yield insert_sql("LiteLLM_SpendLogs", row, set(self.gateway.columns))

    def _restatements(self, turn: int) -> Iterator[str]:
        for number in self.random.sample(self.numbers, 6):
            written = (HOUR + (turn + 1) * STEP).isoformat()
            yield (
                f'update "LiteLLM_SpendLogs" set spend = spend + 0.25, updated_at = {written!r}, '
                f"completion_tokens = completion_tokens + 3 "
                f"where request_id = 'chatcmpl-{number:08}'"
            )


@contextmanager
def writing(gateway: Any, statements: list[str], seconds: float) -> Iterator[None]:
    """Statements carried out one by one while the caller works; all done when it ends."""
    stop = threading.Event()

    def write() -> None:
        with session(gateway.server, gateway.database) as run:
            for statement in statements:
                run(statement)
                stop.wait(seconds / len(statements))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def commands() -> Iterator[Any]:
    """Runs a command line in a process of its own, killed after some seconds or not."""
    with subprocess.Popen(
        [sys.executable, str(TESTS / "fixtures" / "killed_syncs.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS.parent,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def command(gateway: Any, name: str, after: float | None = None) -> dict[str, Any]:
            as_of = gateway.as_of.isoformat() + "Z"
            home = str(gateway.home)
            arguments = [name, "--config", f"{home}/tollbook.yml", "--home", home]
            order = {
                "arguments": [*arguments, "--as-of", as_of],
                "environment": {"TOLLBOOK_TEST_DSN": gateway.server.dsn(gateway.database)},
                "after": after,
            }
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield command
        process.stdin.close()


def drop_prices(gateway: Any) -> None:
    folder = gateway.home / "landing" / "price_catalog"
    folder.mkdir(parents=True)
    path = folder / "litellm_prices.observed-20261001T000000Z.json"
    path.write_text(json.dumps(PRICES))


def visible(gateway: Any) -> int:
    file = gateway.home / "published" / "tollbook.duckdb"
    return query(file, "select count(*) from marts.usage_records")[0][0] if file.exists() else 0


@pytest.mark.long
@pytest.mark.parametrize("seed", [20261101])
def test_an_hour_synced_and_killed_in_between_ends_like_one_load(
    make_gateway: Any, commands: Any, seed: int
) -> None:
    gateway = make_gateway()
    more = "  - {name: price_catalog, kind: price_catalog}"
    gateway.configure(more=more)
    drop_prices(gateway)
    traffic = Traffic(gateway, seed)
    gateway.as_of = HOUR
    assert commands(gateway, "run")["code"] == 0
    killed = 0
    seen = [0]

    for turn in range(TURNS):
        gateway.as_of = HOUR + (turn + 1) * STEP
        with writing(gateway, traffic.turn(turn), seconds=2.0):
            # Every other sync is killed at some point of its work.
            after = traffic.random.uniform(0.2, 6.0) if turn % 2 else None
            killed += commands(gateway, "sync", after)["killed"]
        seen.append(visible(gateway))

    assert killed >= 2
    # Readers saw the hour grow, and never shrink.
    assert seen == sorted(seen)
    assert seen[-1] > 0
    gateway.as_of = HOUR + timedelta(minutes=65)
    assert commands(gateway, "run")["code"] == 0
    assert visible(gateway) == TURNS * ROWS_A_TURN

    whole = make_gateway()
    whole.database = gateway.database
    whole.configure(more=more)
    drop_prices(whole)
    whole.as_of = gateway.as_of
    assert commands(whole, "run")["code"] == 0
    marts = hash_marts(gateway.home / "warehouse.duckdb")
    assert set(differing(marts, hash_marts(whole.home / "warehouse.duckdb"))) <= OF_ARRIVAL
    published = hash_marts(gateway.home / "published" / "tollbook.duckdb")
    assert differing(marts, published) == []
    ((spend,),) = gateway.query('select sum(spend)::text from "LiteLLM_SpendLogs"')
    ((cost,),) = query(
        gateway.home / "published" / "tollbook.duckdb",
        "select sum(gateway_cost) from marts.daily_spend",
    )
    assert float(cost) == pytest.approx(float(spend), abs=1e-9)
    assert cost > TURNS * 6 * 0.25
