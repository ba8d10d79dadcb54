"""peers: the script many write first, with pandas; money as Decimal, because sums must be exact."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from clock import Clock, serve


def load(clock: Clock, *, file: str, folder: str) -> dict[str, Any]:
    """Read the lines, drop repeated rows, keep the table as Parquet, add up the days."""
    with clock:
        frame = pd.read_json(file, lines=True, dtype={"spend": str}, convert_dates=False)
        frame = frame.drop_duplicates(subset=["request_id", "startTime", "api_key", "updated_at"])
        frame.drop(columns=["metadata", "request_tags"]).to_parquet(f"{folder}/logs.parquet")
        spend = frame["spend"].map(lambda text: Decimal(repr(float(text))))
        days = spend.groupby(frame["startTime"].str.slice(0, 10)).sum()
    return {"days": {day: f"{amount:.12f}" for day, amount in sorted(days.items())}}


if __name__ == "__main__":
    serve(load=load)
