"""How long a call takes from LiteLLM's insert to readers: `[ROWS] [DAYS] [MINUTES] [INTERVAL]`.

A gateway with a history of ROWS calls over DAYS days writes 100,000 more an hour while `tollbook
sync` runs every INTERVAL seconds, each in a new process. Prints each sync and the lags of rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
from postgres import LAST, Server, litellm_server, session

_CONFIG = """
sources:
  - {name: live, kind: litellm_postgres, gateway: litellm, dsn: "${TOLLBOOK_BENCH_DSN}",
     statement_timeout: 10m}
  - {name: price_catalog, kind: price_catalog}
"""
_PRICES = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
    }
}
_ROWS_A_SECOND = 100_000 / 3600
# A copy of the newest calls under new ids, as if they were made now.
_WRITE = """
insert into "LiteLLM_SpendLogs" (
    request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens,
    "startTime", "endTime", model, model_group, custom_llm_provider, api_base, "user", metadata,
    cache_hit, request_tags, team_id, end_user, messages, response, session_id, status,
    litellm_call_id, created_at, updated_at
)
select 'live-{number}-' || row_number() over (), call_type, api_key, spend, total_tokens,
    prompt_tokens, completion_tokens, timestamp '{now}', timestamp '{now}', model, model_group,
    custom_llm_provider, api_base, "user", metadata, cache_hit, request_tags, team_id, end_user,
    messages, response, session_id, status, litellm_call_id, timestamp '{now}', timestamp '{now}'
from (select * from "LiteLLM_SpendLogs" where request_id like 'chatcmpl-%' limit {rows}) as copied
"""


class Gateway:
    """Writes rows all the time, and remembers when."""

    def __init__(self, server: Server, begun: float) -> None:
        self.server = server
        self.begun = begun
        self.written: dict[int, float] = {}
        self.stop = threading.Event()

    def now(self) -> datetime:
        """The simulated clock: it goes on from the end of the history as real time does."""
        return datetime.fromisoformat(LAST) + timedelta(seconds=time.monotonic() - self.begun)

    def write(self) -> None:
        """One insert a second, until stopped."""
        number = 0
        with session(self.server, "litellm") as run:
            while not self.stop.wait(1.0):
                number += 1
                run(_WRITE.format(number=number, now=self.now(), rows=round(_ROWS_A_SECOND)))
                self.written[number] = time.monotonic()


def tollbook(home: Path, command: str, as_of: datetime) -> float:
    """Run one command; the seconds it took."""
    begun = time.monotonic()
    subprocess.run(
        [
            Path(sys.executable).with_name("tollbook"),
            command,
            *("--config", home / "tollbook.yml", "--home", home),
            *("--as-of", as_of.isoformat() + "Z"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - begun


def visible(home: Path) -> set[int]:
    """Inserts that readers see whole."""
    with duckdb.connect(str(home / "published" / "tollbook.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select cast(split_part(request_id, '-', 2) as integer), count(*) "
            "from marts.usage_records where request_id like 'live-%' group by 1"
        ).fetchall()
    return {number for number, count in rows if count == round(_ROWS_A_SECOND)}


def main() -> None:
    """Print each sync, then the lags."""
    given = [int(each) for each in sys.argv[1:]]
    rows, days, minutes, interval = (*given, *(1_000_000, 30, 6, 60)[len(given) :])
    with (
        litellm_server(rows, days=days) as (server, dsn),
        tempfile.TemporaryDirectory() as folder,
    ):
        home = Path(folder)
        os.environ["TOLLBOOK_BENCH_DSN"] = dsn
        (home / "tollbook.yml").write_text(_CONFIG)
        catalog = home / "landing" / "price_catalog" / "prices.observed-20260101T000000Z.json"
        catalog.parent.mkdir(parents=True)
        catalog.write_text(json.dumps(_PRICES))
        first = tollbook(home, "run", datetime.fromisoformat(LAST))
        print(f"history: {rows:,} rows over {days} days, first run {first:.0f} s")
        gateway = Gateway(server, time.monotonic())
        writer = threading.Thread(target=gateway.write)
        writer.start()
        lags: dict[int, float] = {}
        try:
            for turn in range(minutes * 60 // interval):
                due = gateway.begun + (turn + 1) * interval
                time.sleep(max(0.0, due - time.monotonic()))
                seconds = tollbook(home, "sync", gateway.now())
                seen = time.monotonic()
                new = visible(home) - lags.keys()
                lags |= {number: seen - gateway.written[number] for number in new}
                print(f"sync {turn + 1}: {seconds:.1f} s, {len(new) * _ROWS_A_SECOND:,.0f} rows")
        finally:
            gateway.stop.set()
            writer.join()
    ordered = sorted(lags.values())
    print(
        f"lag from insert to readers, {len(ordered)} inserts, a sync every {interval} s: "
        f"median {statistics.median(ordered):.0f} s, "
        f"95 % within {ordered[int(0.95 * len(ordered))]:.0f} s, longest {ordered[-1]:.0f} s"
    )


if __name__ == "__main__":
    main()
