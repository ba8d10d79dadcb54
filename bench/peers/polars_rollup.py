"""peers: polars, eager, with decimals from the shortest text of each double."""

from __future__ import annotations

from typing import Any

import polars as pl
from clock import Clock, serve


def load(clock: Clock, *, file: str, folder: str) -> dict[str, Any]:
    """Read the lines, drop repeated rows, keep the table as Parquet, add up the days."""
    with clock:
        frame = pl.read_ndjson(file, infer_schema_length=1000).unique(
            subset=["request_id", "startTime", "api_key", "updated_at"], maintain_order=True
        )
        frame.write_parquet(f"{folder}/logs.parquet")
        days = (
            frame.select(
                pl.col("startTime").str.slice(0, 10).alias("day"),
                # Twelve places hold every amount here, and doubles of this size are exact there.
                (pl.col("spend") * 1e12).round().cast(pl.Int64).alias("pico"),
            )
            .group_by("day")
            .agg(pl.col("pico").sum())
            .sort("day")
            .rows()
        )
    return {"days": {day: f"{pico // 10**12}.{pico % 10**12:012d}" for day, pico in days}}


if __name__ == "__main__":
    serve(load=load)
