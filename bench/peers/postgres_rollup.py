"""peers: LiteLLM's own way, PostgreSQL with its table of spend logs, primary key and indexes.

Taken in the server's favor: the lines are given as CSV, each request once, nothing is synced to
disk, and the roll-up adds numerics of fifteen digits, which are exact for amounts of this size.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as postgresql
from clock import Clock, serve

_TICKS = os.sysconf("SC_CLK_TCK")


def load(
    clock: Clock, *, uri: str, file: str, columns: list[str], data_folder: str
) -> dict[str, Any]:
    """Copy the lines into the emptied table; then the exact spend of each day by "startTime"."""
    names = ", ".join(f'"{name}"' for name in columns)
    with postgresql.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        for setting in ("work_mem = '256MB'", "synchronous_commit = off"):
            cursor.execute(f"set {setting}")
        cursor.execute('truncate "LiteLLM_SpendLogs"')
        server = _server_cpu(data_folder)
        copied, rolled = Clock(), Clock()
        with clock:
            with copied:
                cursor.execute(
                    f"copy \"LiteLLM_SpendLogs\" ({names}) from '{file}' (format csv, header)"
                )
            copied.cpu += (after_copy := _server_cpu(data_folder)) - server
            with rolled:
                cursor.execute("""
                    select to_char("startTime", 'YYYY-MM-DD') as day,
                        cast(sum(cast(spend as numeric)) as text) as amount
                    from "LiteLLM_SpendLogs" group by 1 order by 1
                    """)
                days = cursor.fetchall()
        rolled.cpu += _server_cpu(data_folder) - after_copy
        clock.cpu = copied.cpu + rolled.cpu
    for name, part in (("load", copied), ("roll_up", rolled)):
        clock.phases |= {name: part.wall, f"{name}_cpu": part.cpu}
    return {"days": {day: _at_scale_12(amount) for day, amount in days}}


def _at_scale_12(amount: str) -> str:
    whole, _, digits = amount.partition(".")
    return f"{whole}.{digits.ljust(12, '0')}"


def _server_cpu(data_folder: str) -> float:
    """CPU seconds of the server: its first process, that one's ended children and living ones."""
    first = (Path(data_folder) / "postmaster.pid").read_text().splitlines()[0]
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if folder.name == first:
            total += sum(map(int, fields[11:15]))
        elif fields[1] == first:
            total += sum(map(int, fields[11:13]))
    return total / _TICKS


if __name__ == "__main__":
    serve(load=load)
