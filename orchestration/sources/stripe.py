"""Stripe: events, webhooks and balance transactions as flat, typed rows.

Source: Stripe API reference (events, checkout sessions, payment intents, charges, refunds,
disputes, balance transactions) and its pages on webhook signatures and currencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.sources.payments import (
    ISO_PLACES,
    Flat,
    PaymentField,
    id_of,
    part,
    read_header,
    read_minor_units,
    read_notes,
    read_received_at,
    refuse_forged,
    refuse_stale,
    type_flat,
)
from orchestration.sources.records import RawTable, Record, RecordContext

# Stripe writes these two with two decimals although they have none, and MGA the other way round.
_PLACES = {**ISO_PLACES, "ISK": 2, "UGX": 2, "MGA": 0}
# Their last digits are 0 in every amount Stripe accepts; anything else is another unit.
_WHOLE = {"ISK": 100, "UGX": 100, "BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10}

SESSIONS = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
)
USED_EVENTS = frozenset(
    {
        *SESSIONS,
        "payment_intent.succeeded",
        "charge.succeeded",
        "charge.captured",
        "charge.refunded",
        "charge.refund.updated",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    }
)
FIELDS = (
    PaymentField("record_type"),
    PaymentField("record_id"),
    PaymentField("occurred_at", "event"),
    PaymentField("event_type"),
    PaymentField("is_live", "flag"),
    PaymentField("connected_account_id"),
    PaymentField("object_type"),
    PaymentField("object_id"),
    PaymentField("checkout_session_id"),
    PaymentField("payment_intent_id"),
    PaymentField("charge_id"),
    PaymentField("refund_id"),
    PaymentField("dispute_id"),
    PaymentField("balance_transaction_id"),
    PaymentField("source_id"),
    PaymentField("payment_customer_id"),
    PaymentField("wallet_id"),
    PaymentField("credits", "money"),
    PaymentField("credits_currency"),
    PaymentField("status"),
    PaymentField("payment_status"),
    PaymentField("is_captured", "flag"),
    PaymentField("currency"),
    PaymentField("amount", "signed_minor"),
    PaymentField("amount_tax", "minor"),
    PaymentField("amount_refunded", "minor"),
    PaymentField("fee", "signed_minor"),
    PaymentField("net", "signed_minor"),
    PaymentField("exchange_rate", "rate"),
    PaymentField("transaction_type"),
    PaymentField("object_created_at", "moment"),
    PaymentField("available_at", "moment"),
    PaymentField("observed_at", "observed"),
)
RECORDS = RawTable(
    name="stripe__records",
    columns=tuple(field.column for field in FIELDS),
    key=("record_type", "record_id"),
    event_at="occurred_at",
)
REQUIRED = ("id", "object", "type", "created", "data")
ALTERNATIVES = (
    ("id", "object", "type", "created", "amount", "currency", "net"),
    ("received_at", "headers", "body"),
    ("record_type", "record_id", "occurred_at"),
)
_ID_BY_OBJECT = {
    "checkout.session": "checkout_session_id",
    "payment_intent": "payment_intent_id",
    "charge": "charge_id",
    "refund": "refund_id",
    "dispute": "dispute_id",
}


def read_stripe(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One event or balance transaction.

    Grain: one row per object and version of it. Units: money in whole units of `currency`. Flags:
    `no_credit_unpaid`, `refund_exceeds_payment`, `ignored_event_type`.

    Raises:
        RefusedError: a row code of the closed list.
    """
    flat = flatten_stripe(row)
    for name in ("record_id", "occurred_at"):
        if flat.get(name) in (None, ""):
            raise RefusedError("missing_field", "required and empty", name)
    if flat.get("is_live") is False and not context.accepts_test_mode:
        raise RefusedError("test_mode", "made in Stripe's test mode: no money moved", "livemode")
    is_event = flat["record_type"] == "event"
    if is_event and flat.get("event_type") in USED_EVENTS:
        _refuse_amounts(flat)
    elif not is_event:
        for name in ("amount", "fee", "net"):
            read_minor_units(flat.get(name), name, is_signed=True)
    record = type_flat(flat, FIELDS, context, places=_PLACES)
    if is_event:
        _refuse_orphan(record)
        record.codes |= _event_codes(record)
    return record


def _refuse_amounts(flat: Flat) -> None:
    """Nothing, if what an event says about money can be an amount of Stripe's.

    Raises:
        RefusedError: missing_field or bad_amount.
    """
    if flat.get("amount") is None:
        raise RefusedError("bad_amount", "an event of a payment without its amount", "amount")
    multiple = _WHOLE.get(str(flat.get("currency") or "").upper(), 1)
    for name in ("amount", "amount_refunded", "amount_tax"):
        if flat.get(name) is None:
            continue
        amount = read_minor_units(flat[name], name)
        if amount % multiple:
            reason = f"{amount} is no multiple of {multiple}, as amounts in this currency are"
            raise RefusedError("bad_amount", reason, name)


def _refuse_orphan(record: Record) -> None:
    """Nothing, unless a checkout was paid and nothing could ever say for which wallet.

    A payment intent or charge without a wallet is accepted: its checkout session may name it.

    Raises:
        RefusedError: orphan_topup.
    """
    values = record.values
    is_paid = values.get("event_type") in SESSIONS and values.get("payment_status") == "paid"
    if is_paid and not values.get("wallet_id") and not values.get("payment_customer_id"):
        raise RefusedError(
            "orphan_topup",
            "paid, and neither metadata.wallet_id nor a customer names a wallet; have the "
            "checkout set metadata.wallet_id, and credit this one by an adjustment",
            "metadata.wallet_id",
        )


def _event_codes(record: Record) -> set[str]:
    values = record.values
    codes = set()
    if values.get("event_type") not in USED_EVENTS:
        codes.add("ignored_event_type")
    if values.get("event_type") in SESSIONS and values.get("payment_status") == "unpaid":
        codes.add("no_credit_unpaid")
    if values.get("amount_refunded", 0) > values.get("amount", 0):
        codes.add("refund_exceeds_payment")
    return codes


def flatten_stripe(row: Mapping[str, Any]) -> Flat:
    """The allow-listed parts of an object as Stripe writes it, by the columns of raw."""
    if "record_type" in row:
        return {field.name: row.get(field.name) for field in FIELDS}
    if row.get("object") == "balance_transaction":
        return _flat_transaction(row)
    flat: Flat = {
        "record_type": "event",
        "record_id": row.get("id"),
        "occurred_at": row.get("created"),
        "event_type": row.get("type"),
        "is_live": row.get("livemode"),
        "connected_account_id": row.get("account"),
        "observed_at": row.get("observed_at"),
    }
    thing = part(row, "data", "object")
    flat |= {
        "object_type": thing.get("object"),
        "object_id": thing.get("id"),
    }
    if row.get("type") in USED_EVENTS:
        flat |= _flat_object(thing)
    return flat


def _flat_object(thing: Mapping[str, Any]) -> Flat:
    flat: Flat = {
        "payment_intent_id": id_of(thing.get("payment_intent")),
        "charge_id": id_of(thing.get("charge")) or id_of(thing.get("latest_charge")),
        "balance_transaction_id": id_of(thing.get("balance_transaction")),
        "payment_customer_id": id_of(thing.get("customer")),
        "status": thing.get("status"),
        "payment_status": thing.get("payment_status"),
        "is_captured": thing.get("captured"),
        "currency": thing.get("currency"),
        "amount": _amount(thing),
        "amount_tax": part(thing, "total_details").get("amount_tax"),
        "amount_refunded": thing.get("amount_refunded"),
        "object_created_at": thing.get("created"),
        **read_notes(thing.get("metadata")),
    }
    own_id = _ID_BY_OBJECT.get(str(thing.get("object")))
    return {**flat, own_id: thing.get("id")} if own_id else flat


def _amount(thing: Mapping[str, Any]) -> Any:
    """What was paid, refunded or disputed; of a payment intent what was received."""
    names = {
        "checkout.session": ("amount_total",),
        "payment_intent": ("amount_received", "amount"),
    }.get(str(thing.get("object")), ("amount",))
    return next((thing[name] for name in names if thing.get(name) is not None), None)


def _flat_transaction(row: Mapping[str, Any]) -> Flat:
    return {
        "record_type": "balance_transaction",
        "record_id": row.get("id"),
        "occurred_at": row.get("created"),
        "source_id": id_of(row.get("source")),
        "status": row.get("status"),
        "currency": row.get("currency"),
        "amount": row.get("amount"),
        "fee": row.get("fee"),
        "net": row.get("net"),
        "exchange_rate": row.get("exchange_rate"),
        "transaction_type": row.get("type"),
        "available_at": row.get("available_on"),
        "observed_at": row.get("observed_at"),
    }


def verify_stripe(envelope: Mapping[str, Any], secret: str) -> None:
    """Nothing, if Stripe signed the webhook within five minutes of its arrival.

    Raises:
        RefusedError: bad_signature, stale_signature, or bad_timestamp for `received_at`.
    """
    parts = [each.partition("=") for each in read_header(envelope, "stripe-signature").split(",")]
    signed_at = next((text for name, _, text in parts if name.strip() == "t"), "")
    signatures = [text for name, _, text in parts if name.strip() == "v1"]
    refuse_forged(signatures, f"{signed_at}.{envelope.get('body')}".encode(), secret)
    refuse_stale(int(signed_at), read_received_at(envelope))
