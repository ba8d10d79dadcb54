"""The kinds of file this version reads, and how a file's kind is recognised by its content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.sources import contract_files, litellm_spend_logs
from orchestration.sources.records import RawTable, Record, RecordContext


@dataclass(frozen=True, slots=True)
class FileKind:
    """How the rows of one kind of file become rows of raw.

    Attributes:
        name: The kind as the contract names it.
        table: Where accepted rows go.
        children: Tables for the parts of one row.
        required: Fields without which the file is not of this kind.
        read_row: Raw value to typed record.
        may_hold_content: Whether a file can carry prompts and is scrubbed once loaded.
    """

    name: str
    table: RawTable
    required: tuple[str, ...]
    read_row: Callable[[Mapping[str, Any], RecordContext], Record]
    children: tuple[RawTable, ...] = ()
    may_hold_content: bool = False


ROW_KINDS = {
    kind.name: kind
    for kind in (
        FileKind(
            name="litellm_spend_logs",
            table=litellm_spend_logs.SPEND_LOGS,
            children=(litellm_spend_logs.BATCH_USAGE,),
            required=litellm_spend_logs.REQUIRED,
            read_row=litellm_spend_logs.read_spend_log,
            may_hold_content=True,
        ),
        FileKind(
            name="gateway_counts",
            table=contract_files.GATEWAY_COUNTS,
            required=("gateway", "hour_at", "requests"),
            read_row=contract_files.read_gateway_count,
        ),
        FileKind(
            name="app_requests",
            table=contract_files.APP_REQUESTS,
            required=("request_id", "gateway", "model", "occurred_at"),
            read_row=contract_files.read_app_request,
        ),
    )
}
PRICE_CATALOG = "price_catalog"
READABLE_KINDS = frozenset({*ROW_KINDS, PRICE_CATALOG})


def recognise(kinds: tuple[str, ...], fields: Collection[str]) -> str:
    """The one kind among `kinds` whose required fields are all there, else the assumed first."""
    fitting = [
        name for name in kinds if name in ROW_KINDS and set(ROW_KINDS[name].required) <= set(fields)
    ]
    return fitting[0] if len(fitting) == 1 else kinds[0]
