"""The kinds of file this version reads, and how a file's kind is recognised by its content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.landing.json_text import decode_row
from orchestration.landing.pages import PAGE_KINDS
from orchestration.sources import (
    anthropic_pages,
    cloud_bills,
    contract_files,
    gateway_usage,
    invoices,
    litellm_daily_spend,
    litellm_spend_logs,
    openai_pages,
    openrouter_activity,
    openrouter_credits,
    owners,
    razorpay,
    stripe,
)
from orchestration.sources.gateway_mapping import GatewayMapping
from orchestration.sources.records import Expansion, Part, RawTable, Record, RecordContext


@dataclass(frozen=True, slots=True)
class FileKind:
    """How the rows of one kind of file become rows of raw.

    Attributes:
        name: The kind as the contract names it.
        table: Where accepted rows go.
        children: Tables for the parts of one row.
        required: Fields without which the file is not of this kind.
        read_row: Raw value to typed record.
        json_fields: Fields that hold JSON, in CSV and Parquet as text.
        may_hold_content: Whether a file can carry prompts and is scrubbed once loaded.
        alternatives: Further sets of fields, each of which also makes a file of this kind.
        validity: (key, from, to) of a record that must not overlap with another of its key.
        expand: Rows of a file to the rows that are read, where a thing spans several of them.
        lay_out: Raw value to its allow-listed fields by the columns of raw, where the source nests
            them; `read_row` reads the laid-out form as well.
        is_mapped: Whether a mapping says which field is which.
        mapping: That mapping, once a source is known.
    """

    name: str
    table: RawTable
    required: tuple[str, ...]
    read_row: Callable[[Mapping[str, Any], RecordContext], Record]
    children: tuple[RawTable, ...] = ()
    json_fields: tuple[str, ...] = ()
    may_hold_content: bool = False
    alternatives: tuple[tuple[str, ...], ...] = ()
    validity: Callable[[Record], tuple[tuple[Any, ...], date, date] | None] | None = None
    expand: Callable[[Iterable[Part], RecordContext], Expansion] | None = None
    lay_out: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    is_mapped: bool = False
    mapping: GatewayMapping | None = None

    def mapped_by(self, mapping: GatewayMapping | None) -> FileKind:
        """The kind as the files of one source are read; itself where it needs no mapping."""
        if not self.is_mapped or mapping is None:
            return self
        return replace(
            self,
            mapping=mapping,
            required=mapping.required_names,
            json_fields=mapping.json_fields,
            read_row=lambda row, context: gateway_usage.read_gateway_usage(row, context, mapping),
        )

    def missing(self, fields: Collection[str]) -> list[str]:
        """The required fields that are not there; none where an alternative is complete."""
        if self.mapping is not None:
            return self.mapping.missing(fields)
        if any(set(each) <= set(fields) for each in self.alternatives):
            return []
        return [name for name in self.required if name not in fields]

    def resembles(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row has a telling field of this kind, so that the file may be of it."""
        if self.mapping is not None:
            return self.mapping.resembles(fields)
        telling = {*self.required[1:], *(name for each in self.alternatives for name in each)}
        return any(name in fields for name in telling)

    def read(self, value: Mapping[str, Any], context: RecordContext) -> Record:
        """The typed record of one decoded row.

        Raises:
            RefusedError: a row code of the closed list.
        """
        for name in self.json_fields:
            text = value.get(name)
            if isinstance(text, str) and text:
                value = {**value, name: _decoded(text)}
        return self.read_row(value, context)


def _decoded(text: str) -> Any:
    """The value of JSON kept as text; the text itself where it is none."""
    try:
        return decode_row(text.encode())
    except RefusedError as error:
        if error.refusal.code != "invalid_json":
            raise
    return text


_Verify = Callable[[Mapping[str, Any], str], None]
_LayOut = Callable[[Mapping[str, Any]], Mapping[str, Any]]
_Read = Callable[[Mapping[str, Any], RecordContext], Record]


def _message_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event in a webhook as it was received, with its headers; any other row as it is.

    Raises:
        RefusedError: invalid_json, not_object, or another code of text that is no sound object.
    """
    if "body" not in row or "headers" not in row:
        return row
    if not isinstance(row["body"], str):
        raise RefusedError("bad_type", "expected the body as text, byte for byte", "body")
    event = decode_row(row["body"].encode("utf-8", "surrogatepass"))
    if not isinstance(event, Mapping):
        raise RefusedError("not_object", "expected an event", "body")
    headers = row["headers"] if isinstance(row["headers"], Mapping) else {}
    return {**event, "_headers": {str(name).lower(): value for name, value in headers.items()}}


def _read_messages(read: _Read, verify: _Verify) -> _Read:
    """A reader that also takes webhooks as received, and refuses those that are not signed."""

    def read_message(row: Mapping[str, Any], context: RecordContext) -> Record:
        if "body" in row and "headers" in row and context.webhook_secret is not None:
            verify(row, context.webhook_secret)
        return read(_message_of(row), context)

    return read_message


def _lay_out_messages(lay_out: _LayOut) -> _LayOut:
    def lay_out_message(row: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return lay_out(_message_of(row))
        except RefusedError:
            return {}

    return lay_out_message


def _of_contract(
    name: str, table: RawTable, rules: tuple[contract_files.FieldRule, ...], read: _Read
) -> FileKind:
    required = contract_files.required_of(rules)
    return FileKind(name=name, table=table, required=required, read_row=read)


def _without_mapping(_row: Mapping[str, Any], _context: RecordContext) -> Record:
    reason = "no mapping says which field is which; name one as `mapping:` of its source"
    raise RefusedError("schema_mismatch", reason)


def _mapped_kind(name: str) -> FileKind:
    """A kind whose rows become usage records by a mapping."""
    return FileKind(
        name=name,
        table=gateway_usage.GATEWAY_USAGE,
        required=("request_id",),
        read_row=_without_mapping,
        may_hold_content=True,
        is_mapped=True,
    )


# What every result of an API page is given by the reader of pages.
_PLACE = ("endpoint", "bucket_start_at", "content_sha256")
ROW_KINDS = {
    kind.name: kind
    for kind in (
        FileKind(
            name="litellm_spend_logs",
            table=litellm_spend_logs.SPEND_LOGS,
            children=(litellm_spend_logs.BATCH_USAGE,),
            required=litellm_spend_logs.REQUIRED,
            read_row=litellm_spend_logs.read_spend_log,
            json_fields=litellm_spend_logs.JSON_FIELDS,
            may_hold_content=True,
        ),
        _mapped_kind("gateway_usage"),
        _mapped_kind("openrouter_generations"),
        _mapped_kind("cloudflare_ai_gateway"),
        FileKind(
            name="openrouter_activity",
            table=openrouter_activity.ACTIVITY,
            required=openrouter_activity.REQUIRED,
            read_row=openrouter_activity.read_activity,
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
        FileKind(
            name="owners",
            table=owners.OBSERVATIONS,
            children=tuple(owners.RAW_BY_NAME.values()),
            required=owners.REQUIRED,
            alternatives=owners.ALTERNATIVES,
            read_row=owners.read_owner,
            json_fields=owners.JSON_FIELDS,
            validity=owners.validity,
        ),
        FileKind(
            name="openrouter_credits",
            table=openrouter_credits.CREDITS,
            required=openrouter_credits.REQUIRED,
            alternatives=(openrouter_credits.REQUIRED,),
            read_row=openrouter_credits.read_credits,
        ),
        FileKind(
            name="litellm_daily_spend",
            table=litellm_daily_spend.DAILY_SPEND,
            required=litellm_daily_spend.REQUIRED,
            read_row=litellm_daily_spend.read_daily_spend,
        ),
        FileKind(
            name="stripe",
            table=stripe.RECORDS,
            required=stripe.REQUIRED,
            alternatives=stripe.ALTERNATIVES,
            read_row=_read_messages(stripe.read_stripe, stripe.verify_stripe),
            lay_out=_lay_out_messages(stripe.flatten_stripe),
        ),
        FileKind(
            name="razorpay",
            table=razorpay.RECORDS,
            required=razorpay.REQUIRED,
            alternatives=razorpay.ALTERNATIVES,
            read_row=_read_messages(razorpay.read_razorpay, razorpay.verify_razorpay),
            lay_out=_lay_out_messages(razorpay.flatten_razorpay),
        ),
        FileKind(
            name="invoices",
            table=invoices.LINES,
            required=invoices.REQUIRED,
            alternatives=invoices.ALTERNATIVES,
            read_row=invoices.read_invoice_line,
            expand=invoices.expand_invoices,
        ),
        _of_contract(
            "wallet_transactions",
            contract_files.WALLET_TRANSACTIONS,
            contract_files.WALLET_TRANSACTION_FIELDS,
            contract_files.read_wallet_transaction,
        ),
        _of_contract(
            "adjustments",
            contract_files.ADJUSTMENTS,
            contract_files.ADJUSTMENT_FIELDS,
            contract_files.read_adjustment,
        ),
        _of_contract(
            "recharge_requests",
            contract_files.RECHARGE_REQUESTS,
            contract_files.RECHARGE_REQUEST_FIELDS,
            contract_files.read_recharge_request,
        ),
        _of_contract(
            "decisions",
            contract_files.DECISIONS,
            contract_files.DECISION_FIELDS,
            contract_files.read_decision,
        ),
        _of_contract(
            "closes", contract_files.CLOSES, contract_files.CLOSE_FIELDS, contract_files.read_close
        ),
        _of_contract(
            "statements",
            contract_files.STATEMENTS,
            contract_files.STATEMENT_FIELDS,
            contract_files.read_statement,
        ),
        FileKind(
            name="openai_usage",
            table=openai_pages.USAGE,
            required=_PLACE,
            read_row=openai_pages.read_usage,
        ),
        FileKind(
            name="openai_costs",
            table=openai_pages.COST_LINES,
            required=_PLACE,
            read_row=openai_pages.read_cost,
        ),
        FileKind(
            name="anthropic_usage",
            table=anthropic_pages.USAGE,
            required=_PLACE,
            read_row=anthropic_pages.read_usage,
        ),
        FileKind(
            name="anthropic_costs",
            table=anthropic_pages.COST_LINES,
            required=_PLACE,
            read_row=anthropic_pages.read_cost,
        ),
        FileKind(
            name="focus",
            table=cloud_bills.FOCUS_CHARGES,
            required=tuple(names[0] for names in cloud_bills.FOCUS.required),
            read_row=cloud_bills.read_focus,
        ),
        FileKind(
            name="aws_cur2",
            table=cloud_bills.AWS_LINE_ITEMS,
            required=tuple(names[0] for names in cloud_bills.AWS.required),
            read_row=cloud_bills.read_aws,
        ),
        FileKind(
            name="gcp_billing",
            table=cloud_bills.GCP_ROWS,
            children=(cloud_bills.GCP_CREDITS,),
            required=tuple(names[0] for names in cloud_bills.GCP.required),
            read_row=cloud_bills.read_gcp,
        ),
        FileKind(
            name="azure_cost",
            table=cloud_bills.AZURE_COSTS,
            required=tuple(names[0] for names in cloud_bills.AZURE.required),
            read_row=cloud_bills.read_azure,
        ),
    )
}
PRICE_CATALOG = "price_catalog"
# Kinds of which a file is an observation of whole buckets or billing periods, not of single rows.
OBSERVED_KINDS = frozenset({*PAGE_KINDS, *cloud_bills.BILL_KINDS})


def recognise(kinds: tuple[str, ...], fields: Collection[str]) -> str:
    """The one kind among `kinds` whose required fields are all there, else the assumed first."""
    fitting = [name for name in kinds if name in ROW_KINDS and not ROW_KINDS[name].missing(fields)]
    return fitting[0] if len(fitting) == 1 else kinds[0]
