"""OpenRouter's credits: what was bought and what was used in all, whenever somebody asked.

Source: OpenRouter `GET /api/v1/credits`, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.core.values import read_money
from orchestration.sources.records import Column, RawTable, Record, RecordContext

CREDITS = RawTable(
    name="openrouter__credits",
    columns=(
        Column("observed_at", "timestamp"),
        Column("total_credits", "decimal(38, 18)"),
        Column("total_usage", "decimal(38, 18)"),
    ),
    key=("observed_at",),
    event_at="observed_at",
)
REQUIRED = ("data",)
_FIELDS = ("total_credits", "total_usage")


def read_credits(row: Mapping[str, Any], context: RecordContext) -> Record:
    """The two sums of one answer; their difference is the balance.

    Grain: one row per answer that differed from the one before. Units: USD, in all so far.

    Raises:
        RefusedError: a row code of the closed list.
    """
    figures = row.get("data")
    if not isinstance(figures, Mapping):
        raise RefusedError("bad_type", "expected an object with total_credits", "data")
    record = Record(values={})
    for name in _FIELDS:
        if figures.get(name) in (None, ""):
            raise RefusedError("missing_field", "required and empty", name)
        record.values[name], lost = read_money(figures[name], name)
        record.codes.update({"precision_rounded"} if lost else ())
    if not figures.keys() <= set(_FIELDS):
        record.codes.add("schema_drift")
    record.values["observed_at"] = context.observed_at() if context.observed_at else context.as_of
    return record
