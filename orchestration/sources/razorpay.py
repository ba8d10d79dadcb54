"""Razorpay: webhooks, payments, refunds and settlement rows as flat, typed rows.

Source: Razorpay API reference (payments, orders, refunds, disputes, settlements recon) and its
page on validating webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.sources.payments import (
    ISO_PLACES,
    Flat,
    PaymentField,
    part,
    read_header,
    read_minor_units,
    read_notes,
    refuse_forged,
    type_flat,
)
from orchestration.sources.records import RawTable, Record, RecordContext

USED_EVENTS = frozenset(
    {
        "payment.authorized",
        "payment.captured",
        "payment.failed",
        "order.paid",
        "refund.created",
        "refund.processed",
        "refund.failed",
        "refund.speed_changed",
        "payment.dispute.created",
        "payment.dispute.under_review",
        "payment.dispute.action_required",
        "payment.dispute.won",
        "payment.dispute.lost",
        "payment.dispute.closed",
    }
)
# A payment in one of these states has moved money; an authorized one goes back by itself.
PAID = ("captured", "refunded")
FIELDS = (
    PaymentField("record_type"),
    PaymentField("record_id"),
    PaymentField("occurred_at", "event"),
    PaymentField("event_type"),
    PaymentField("merchant_account_id"),
    PaymentField("payment_id"),
    PaymentField("order_id"),
    PaymentField("refund_id"),
    PaymentField("dispute_id"),
    PaymentField("settlement_id"),
    PaymentField("payment_customer_id"),
    PaymentField("wallet_id"),
    PaymentField("credits", "money"),
    PaymentField("credits_currency"),
    PaymentField("currency"),
    PaymentField("payment_status"),
    PaymentField("amount", "minor"),
    PaymentField("amount_refunded", "minor"),
    PaymentField("fee", "signed_minor"),
    PaymentField("tax", "signed_minor"),
    PaymentField("payment_created_at", "moment"),
    PaymentField("refund_status"),
    PaymentField("refund_amount", "minor"),
    PaymentField("refund_created_at", "moment"),
    PaymentField("dispute_status"),
    PaymentField("dispute_phase"),
    PaymentField("dispute_amount", "minor"),
    PaymentField("item_type"),
    PaymentField("debit", "minor"),
    PaymentField("credit", "minor"),
    PaymentField("settled_at", "moment"),
    PaymentField("observed_at", "observed"),
)
RECORDS = RawTable(
    name="razorpay__records",
    columns=tuple(field.column for field in FIELDS),
    key=("record_type", "record_id", "event_type", "payment_id", "refund_id", "dispute_id"),
    event_at="occurred_at",
)
REQUIRED = ("entity", "event", "payload", "created_at")
ALTERNATIVES = (
    ("entity_id", "type", "debit", "credit"),
    ("id", "entity", "amount", "currency", "status"),
    ("received_at", "headers", "body"),
    ("record_type", "occurred_at"),
)
EVENT_ID = "x-razorpay-event-id"


def read_razorpay(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One webhook event, payment, refund or settlement row.

    Grain: one row per object and version of it. Units: money in whole units of `currency`; `fee`
    contains `tax`, which is the tax on the fee. Flags: `no_credit_unpaid`,
    `refund_exceeds_payment`, `ignored_event_type`.

    Raises:
        RefusedError: a row code of the closed list.
    """
    flat = flatten_razorpay(row)
    if flat.get("occurred_at") in (None, ""):
        raise RefusedError("missing_field", "required and empty", "created_at")
    _refuse_amounts(flat)
    record = type_flat(flat, FIELDS, context, places=ISO_PLACES)
    _refuse_orphan(record)
    record.codes |= _codes(record)
    return record


def _refuse_amounts(flat: Flat) -> None:
    """Nothing, if every part that moves money says how much.

    Raises:
        RefusedError: bad_amount or missing_field.
    """
    for key, amount in (
        ("payment_status", "amount"),
        ("refund_id", "refund_amount"),
        ("dispute_id", "dispute_amount"),
    ):
        if flat.get(key) and flat.get("record_type") != "settlement_item":
            read_minor_units(flat.get(amount), amount)
    is_used = flat.get("event_type") in USED_EVENTS
    if is_used and not any(flat.get(key) for key in ("payment_id", "refund_id", "dispute_id")):
        raise RefusedError("missing_field", "an event of a payment without its id", "payload")


def _refuse_orphan(record: Record) -> None:
    """Nothing, unless a payment was captured and nothing could ever say for which wallet.

    Raises:
        RefusedError: orphan_topup.
    """
    values = record.values
    is_payment = values["record_type"] == "payment" or values.get("event_type") in (
        "payment.captured",
        "order.paid",
    )
    if not is_payment or values.get("payment_status") not in PAID:
        return
    # The order's own notes may name the wallet, in another event.
    may_be_found = ("wallet_id", "payment_customer_id")
    if values.get("event_type") != "order.paid":
        may_be_found += ("order_id",)
    if not any(values.get(name) for name in may_be_found):
        raise RefusedError(
            "orphan_topup",
            "captured, and neither notes.wallet_id nor a customer names a wallet; have the "
            "checkout set notes.wallet_id, and credit this one by an adjustment",
            "notes.wallet_id",
        )


def _codes(record: Record) -> set[str]:
    values = record.values
    codes = set()
    if values["record_type"] == "event" and values.get("event_type") not in USED_EVENTS:
        codes.add("ignored_event_type")
    if values.get("event_type") in ("payment.authorized", "payment.failed"):
        codes.add("no_credit_unpaid")
    paid = values.get("amount")
    refunded = max(values.get("amount_refunded", 0), values.get("refund_amount", 0))
    if paid is not None and values["record_type"] != "settlement_item" and refunded > paid:
        codes.add("refund_exceeds_payment")
    return codes


def flatten_razorpay(row: Mapping[str, Any]) -> Flat:
    """The allow-listed parts of an object as Razorpay writes it, by the columns of raw."""
    if "record_type" in row:
        return {field.name: row.get(field.name) for field in FIELDS}
    entity = row.get("entity")
    if entity == "payment":
        return {"record_type": "payment", **_own(row), **_payment(row)}
    if entity == "refund":
        return {"record_type": "refund", **_own(row), **_refund(row)}
    if "entity_id" in row:
        return _settlement_item(row)
    flat: Flat = {
        "record_type": "event",
        "record_id": _event_id(row),
        "occurred_at": row.get("created_at"),
        "event_type": row.get("event"),
        "merchant_account_id": row.get("account_id"),
        "observed_at": row.get("observed_at"),
    }
    if row.get("event") not in USED_EVENTS:
        return flat
    payload = part(row, "payload")
    order = part(payload, "order", "entity")
    refund = part(payload, "refund", "entity")
    dispute = part(payload, "dispute", "entity")
    flat |= {name: value for name, value in _order(order).items() if value is not None}
    for found in (_payment(part(payload, "payment", "entity")), _refund(refund), _dispute(dispute)):
        flat |= {name: value for name, value in found.items() if value is not None}
    return flat


def _event_id(row: Mapping[str, Any]) -> Any:
    """The id that only a header has; an extractor keeps it beside the body."""
    return part(row, "_headers").get(EVENT_ID)


def _own(row: Mapping[str, Any]) -> Flat:
    return {
        "record_id": row.get("id"),
        "occurred_at": row.get("created_at"),
        "observed_at": row.get("observed_at"),
    }


def _payment(payment: Mapping[str, Any]) -> Flat:
    if not payment:
        return {}
    return {
        "payment_id": payment.get("id"),
        "order_id": payment.get("order_id"),
        "payment_customer_id": payment.get("customer_id"),
        "currency": payment.get("currency"),
        "payment_status": payment.get("status"),
        "amount": payment.get("amount"),
        "amount_refunded": payment.get("amount_refunded"),
        "fee": payment.get("fee"),
        "tax": payment.get("tax"),
        "payment_created_at": payment.get("created_at"),
        **read_notes(payment.get("notes")),
    }


def _order(order: Mapping[str, Any]) -> Flat:
    if not order:
        return {}
    return {"order_id": order.get("id"), **read_notes(order.get("notes"))}


def _refund(refund: Mapping[str, Any]) -> Flat:
    if not refund:
        return {}
    return {
        "refund_id": refund.get("id"),
        "payment_id": refund.get("payment_id"),
        "currency": refund.get("currency"),
        "refund_status": refund.get("status"),
        "refund_amount": refund.get("amount"),
        "refund_created_at": refund.get("created_at"),
    }


def _dispute(dispute: Mapping[str, Any]) -> Flat:
    if not dispute:
        return {}
    return {
        "dispute_id": dispute.get("id"),
        "payment_id": dispute.get("payment_id"),
        "currency": dispute.get("currency"),
        "dispute_status": dispute.get("status"),
        "dispute_phase": dispute.get("phase"),
        "dispute_amount": dispute.get("amount"),
    }


def _settlement_item(row: Mapping[str, Any]) -> Flat:
    item_type = row.get("type")
    is_payment = item_type == "payment"
    return {
        "record_type": "settlement_item",
        "record_id": row.get("entity_id"),
        "occurred_at": row.get("created_at"),
        "observed_at": row.get("observed_at"),
        "item_type": item_type,
        "payment_id": row.get("entity_id") if is_payment else row.get("payment_id"),
        "refund_id": row.get("entity_id") if item_type == "refund" else None,
        "order_id": row.get("order_id"),
        "settlement_id": row.get("settlement_id"),
        "currency": row.get("currency"),
        "amount": row.get("amount"),
        "fee": row.get("fee"),
        "tax": row.get("tax"),
        "debit": row.get("debit"),
        "credit": row.get("credit"),
        "settled_at": row.get("settled_at"),
        **read_notes(row.get("notes")),
    }


def verify_razorpay(envelope: Mapping[str, Any], secret: str) -> None:
    """Nothing, if Razorpay signed the webhook's body.

    Raises:
        RefusedError: bad_signature. Razorpay signs no time, so none can be stale.
    """
    signature = read_header(envelope, "x-razorpay-signature")
    refuse_forged([signature], str(envelope.get("body")).encode(), secret)
