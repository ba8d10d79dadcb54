"""Rows of cloud bills: FOCUS 1.0 to 1.2, AWS CUR 2.0, Google's billing export, Azure's details."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestration.core.refusals import RefusedError, shown
from orchestration.sources.provider_fields import (
    ProviderField,
    read_fields,
    read_signed,
    rename,
    table_of,
)
from orchestration.sources.records import Column, RawTable, Record, RecordContext

Fields = tuple[ProviderField, ...]
# The file whose statement of its billing periods a row belongs to, and where the row stood.
_FILE_FIELDS: Fields = (
    ProviderField("content_sha256", is_required=True),
    ProviderField("row_number", "position", is_required=True),
)
_ADDRESS = ("content_sha256", "row_number")


@dataclass(frozen=True, slots=True)
class Period:
    """The billing period a row belongs to, and whose bill it is: replaced as one.

    Attributes:
        start_at, end_at: Half-open, naive UTC; the end is None where the row does not say it.
    """

    billing_account_id: str
    start_at: datetime
    end_at: datetime | None


@dataclass(frozen=True, slots=True)
class BillKind:
    """How the rows of one kind of bill are read.

    Attributes:
        fields: Its allow-listed fields.
        required: Names without one of which a file is no such bill, in the source's own words.
        folds_case: Whether column names differ in case between dialects.
        is_ignored: Whether a column is known and left out on purpose.
        is_replaced: Whether a newer file replaces the periods it states; otherwise rows add up.
        parts: A field whose parts become rows of their own; it is handed on as it stands.
    """

    fields: Fields
    required: tuple[tuple[str, ...], ...]
    is_ignored: Callable[[str], bool]
    folds_case: bool = False
    is_replaced: bool = True
    parts: str = ""

    def missing(self, names: list[str]) -> list[str]:
        """The required columns that a table lacks, each by its first name."""
        present = {self._folded(flat_name(name)) for name in names}
        # A nested column stands for its parts.
        roots = {name.partition("_")[0] for name in names if "_" not in name and "." not in name}
        return [
            each[0]
            for each in self.required
            if not present & set(each) and not {name.partition("_")[0] for name in each} & roots
        ]

    def flatten(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row by our names, nested fields taken apart.

        Raises:
            RefusedError: bad_type where two columns of one name differ.
        """
        flat: dict[str, Any] = {}
        for name, value in _leaves(row):
            folded = self._folded(name)
            if flat.get(folded) in (None, ""):
                flat[folded] = value
            elif value not in (None, "") and repr(value) != repr(flat[folded]):
                raise RefusedError("bad_type", "two columns of this name differ", shown(name))
        renamed = rename(flat, self.fields, ignored=self.is_ignored)
        return renamed | {self.parts: flat[self.parts]} if flat.get(self.parts) else renamed

    def content_sha256(self, row: Mapping[str, Any]) -> str:
        """A hash of a row's known fields, also of those that are left out.

        A column that is new to us, or empty, does not make a row another one.
        """
        known = {name for field in self.fields for name in field.names}
        found = sorted(
            f"{name}={value!r}"
            for name, value in _leaves(row)
            if value not in (None, "", []) and (name in known or self.is_ignored(name))
        )
        return hashlib.sha256("\x1f".join(found).encode("utf-8", "surrogatepass")).hexdigest()

    def _folded(self, name: str) -> str:
        return name.lower() if self.folds_case else name


def flat_name(name: str) -> str:
    """A column's name with its parts joined by _, however a tool joined them."""
    return name.replace(".", "_").replace("/", "_")


# Objects that are one value: they are kept, or dropped, whole.
_WHOLE = frozenset(
    {
        "Tags",
        "credits",
        "labels",
        "resource_tags",
        "system_labels",
        "tags",
    }
)


def _leaves(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in row.items():
        name = f"{prefix}{flat_name(key)}"
        if isinstance(value, dict) and name not in _WHOLE:
            found += _leaves(value, f"{name}_")
        else:
            found.append((name, value))
    return found


def _listed(*names: str) -> Callable[[str], bool]:
    return frozenset(names).__contains__


# ---------------------------------------------------------------- FOCUS

_FOCUS_FIELDS: Fields = (
    *_FILE_FIELDS,
    ProviderField("billing_account_id", "id", ("BillingAccountId",), is_required=True),
    ProviderField("sub_account_id", "id", ("SubAccountId",)),
    ProviderField("billing_period_start_at", "time", ("BillingPeriodStart",), is_required=True),
    ProviderField("billing_period_end_at", "time", ("BillingPeriodEnd",), is_required=True),
    ProviderField("charge_period_start_at", "time", ("ChargePeriodStart",), is_required=True),
    ProviderField("charge_period_end_at", "time", ("ChargePeriodEnd",), is_required=True),
    ProviderField("charge_category", "text", ("ChargeCategory",), is_required=True),
    ProviderField("charge_class", "text", ("ChargeClass",)),
    ProviderField("charge_description", "text", ("ChargeDescription",)),
    ProviderField("charge_frequency", "text", ("ChargeFrequency",)),
    ProviderField("billed_cost", "amount", ("BilledCost",), is_required=True),
    ProviderField("effective_cost", "number", ("EffectiveCost",)),
    ProviderField("list_cost", "number", ("ListCost",)),
    ProviderField("contracted_cost", "number", ("ContractedCost",)),
    ProviderField("currency", "currency", ("BillingCurrency",), is_required=True),
    ProviderField("consumed_quantity", "number", ("ConsumedQuantity",)),
    ProviderField("consumed_unit", "text", ("ConsumedUnit",)),
    ProviderField("pricing_quantity", "number", ("PricingQuantity",)),
    ProviderField("pricing_unit", "text", ("PricingUnit",)),
    ProviderField("pricing_category", "text", ("PricingCategory",)),
    ProviderField("invoice_id", "id", ("InvoiceId",)),
    ProviderField("invoice_issuer_name", "text", ("InvoiceIssuerName", "InvoiceIssuer")),
    ProviderField("provider_name", "text", ("ProviderName", "ServiceProviderName", "Provider")),
    ProviderField("service_category", "text", ("ServiceCategory",)),
    ProviderField("service_name", "text", ("ServiceName",)),
    ProviderField("region_id", "text", ("RegionId",)),
    ProviderField("resource_id", "id", ("ResourceId",)),
    ProviderField("sku_id", "id", ("SkuId",)),
    ProviderField("sku_meter", "text", ("SkuMeter",)),
    ProviderField("sku_price_id", "id", ("SkuPriceId",)),
    ProviderField("tags", "tags", ("Tags",)),
)
# Columns of FOCUS 1.0 to 1.4 that say nothing about a charge that we use.
_FOCUS_KNOWN = _listed(
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "AvailabilityZone",
    "BillingAccountName",
    "BillingAccountType",
    "CapacityReservationId",
    "CapacityReservationStatus",
    "ChargeType",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
    "ContractApplied",
    "ContractedUnitPrice",
    "HostProviderName",
    "InvoiceDetailId",
    "ListUnitPrice",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "Publisher",
    "PublisherName",
    "Region",
    "RegionName",
    "ResourceName",
    "ResourceType",
    "ServiceSubcategory",
    "SkuPriceDetails",
    "SubAccountName",
    "SubAccountType",
)
FOCUS = BillKind(
    fields=_FOCUS_FIELDS,
    required=(
        ("BilledCost",),
        ("BillingCurrency",),
        ("BillingAccountId",),
        ("BillingPeriodStart",),
        ("ChargePeriodStart",),
        ("ChargeCategory",),
    ),
    # Providers add columns of their own under x_, as FOCUS tells them to.
    is_ignored=lambda name: name.startswith("x_") or _FOCUS_KNOWN(name),
)
FOCUS_CHARGES = table_of(
    "focus__charges", _FOCUS_FIELDS, key=_ADDRESS, event_at="charge_period_start_at"
)


def read_focus(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One charge of a FOCUS file.

    Grain: one row per row of the file. Units: costs in `currency`, credits negative; spans UTC,
    half-open.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _FOCUS_FIELDS, context)
    _check_span(record, "charge_period_start_at", "charge_period_end_at")
    return _flagged(record, "billed_cost")


# ---------------------------------------------------------------- AWS

_AWS_FIELDS: Fields = (
    *_FILE_FIELDS,
    ProviderField("billing_account_id", "id", ("bill_payer_account_id",)),
    ProviderField("sub_account_id", "id", ("line_item_usage_account_id",)),
    ProviderField(
        "billing_period_start_at", "time", ("bill_billing_period_start_date",), is_required=True
    ),
    ProviderField("billing_period_end_at", "time", ("bill_billing_period_end_date",)),
    ProviderField("bill_type", "text", ("bill_bill_type",)),
    ProviderField("billing_entity", "text", ("bill_billing_entity",)),
    ProviderField("invoice_id", "id", ("bill_invoice_id",)),
    ProviderField("line_item_id", "id", ("identity_line_item_id",)),
    ProviderField("line_item_type", "text", ("line_item_line_item_type",), is_required=True),
    ProviderField("usage_start_at", "time", ("line_item_usage_start_date",)),
    ProviderField("usage_end_at", "time", ("line_item_usage_end_date",)),
    ProviderField("product_code", "text", ("line_item_product_code",)),
    ProviderField("usage_type", "text", ("line_item_usage_type",)),
    ProviderField("operation", "text", ("line_item_operation",)),
    ProviderField("description", "text", ("line_item_line_item_description",)),
    ProviderField("usage_amount", "number", ("line_item_usage_amount",)),
    ProviderField("pricing_unit"),
    ProviderField("unblended_rate", "number", ("line_item_unblended_rate",)),
    ProviderField("unblended_cost", "amount", ("line_item_unblended_cost",), is_required=True),
    ProviderField("net_unblended_cost", "number", ("line_item_net_unblended_cost",)),
    ProviderField("currency", "currency", ("line_item_currency_code",), is_required=True),
    ProviderField("resource_id", "id", ("line_item_resource_id",)),
    ProviderField("tags", "tags", ("resource_tags",)),
)
# The other columns of CUR 2.0 come in families; a new one within a family is no news to us.
_AWS_FAMILIES = re.compile(
    r"(?:product|pricing|reservation|savings_plan|split_line_item|discount|cost_category"
    r"|resource_tags|tags)(?:_|\Z)"
)
_AWS_KNOWN = _listed(
    "bill_invoicing_entity",
    "bill_payer_account_name",
    "identity_time_interval",
    "line_item_availability_zone",
    "line_item_blended_cost",
    "line_item_blended_rate",
    "line_item_iam_principal",
    "line_item_legal_entity",
    "line_item_net_unblended_rate",
    "line_item_normalization_factor",
    "line_item_normalized_usage_amount",
    "line_item_tax_type",
    "line_item_usage_account_name",
)
AWS = BillKind(
    fields=_AWS_FIELDS,
    required=(
        ("bill_billing_period_start_date",),
        ("line_item_line_item_type",),
        ("line_item_unblended_cost",),
        ("line_item_currency_code",),
    ),
    is_ignored=lambda name: bool(_AWS_FAMILIES.match(name)) or _AWS_KNOWN(name),
)
AWS_LINE_ITEMS = table_of("aws__line_items", _AWS_FIELDS, key=_ADDRESS, event_at="usage_start_at")


def read_aws(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One line of a Cost and Usage Report 2.0.

    Grain: one row per line item. Units: costs in `currency`; usage in `pricing_unit`; UTC.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _AWS_FIELDS, context)
    _check_span(record, "usage_start_at", "usage_end_at")
    return _flagged(record, "unblended_cost")


# ---------------------------------------------------------------- Google

_GCP_FIELDS: Fields = (
    ProviderField("content_sha256", is_required=True),
    ProviderField("occurrence", "position", is_required=True),
    ProviderField("billing_account_id", "id", is_required=True),
    ProviderField("service_id", "id"),
    ProviderField("service_description"),
    ProviderField("sku_id", "id"),
    ProviderField("sku_description"),
    ProviderField("usage_start_at", "time", ("usage_start_time",), is_required=True),
    ProviderField("usage_end_at", "time", ("usage_end_time",), is_required=True),
    ProviderField("project_id", "id"),
    ProviderField("region", "text", ("location_region",)),
    ProviderField("invoice_month", is_required=True),
    ProviderField("cost_type"),
    ProviderField("cost", "amount", is_required=True),
    ProviderField("cost_at_list", "number"),
    ProviderField("currency", "currency", is_required=True),
    ProviderField("currency_conversion_rate", "number"),
    ProviderField("usage_amount", "number"),
    ProviderField("usage_unit"),
    ProviderField("usage_amount_in_pricing_units", "number"),
    ProviderField("usage_pricing_unit"),
    ProviderField("adjustment_id", "id", ("adjustment_info_id",)),
    ProviderField("adjustment_type", "text", ("adjustment_info_type",)),
    ProviderField("resource_id", "id", ("resource_global_name",)),
    ProviderField("export_at", "time", ("export_time",)),
    ProviderField("tags", "tags", ("labels",)),
)
_GCP_FAMILIES = re.compile(
    r"(?:project|location|price|resource|adjustment_info|tags|subscription|consumption_model"
    r"|sku|service)(?:_|\Z)"
)
_GCP_KNOWN = _listed(
    "cost_at_effective_price_default",
    "cost_at_list_consumption_model",
    "credits",
    "seller_name",
    "system_labels",
    "transaction_type",
)
GCP = BillKind(
    fields=_GCP_FIELDS,
    required=(
        ("billing_account_id",),
        ("usage_start_time",),
        ("cost",),
        ("currency",),
        ("invoice_month",),
    ),
    is_ignored=lambda name: bool(_GCP_FAMILIES.match(name)) or _GCP_KNOWN(name),
    # The export only ever appends: a correction is a further row.
    is_replaced=False,
    parts="credits",
)
_GCP_TABLE = table_of("gcp__billing_rows", _GCP_FIELDS, key=(), event_at="usage_start_at")
GCP_ROWS = RawTable(
    name=_GCP_TABLE.name,
    # The credits of a row tell it from one without them.
    columns=(*_GCP_TABLE.columns, Column("credits_amount", "decimal(38, 18)")),
    key=("content_sha256", "occurrence"),
    event_at="usage_start_at",
)
GCP_CREDITS = RawTable(
    name="gcp__credits",
    columns=(
        Column("credit_number", "bigint"),
        Column("usage_start_at", "timestamp"),
        Column("credit_id", "varchar"),
        Column("credit_name", "varchar"),
        Column("credit_type", "varchar"),
        Column("amount", "decimal(38, 18)"),
    ),
    key=("credit_number",),
    event_at="usage_start_at",
)
_INVOICE_MONTH = re.compile(r"20[2-9][0-9](?:0[1-9]|1[0-2])\Z")
_CREDITS = "credits"


def read_gcp(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One row of Google's billing export, its credits as rows of their own.

    Grain: one row per exported row. Units: costs and credits in `currency`, credits negative;
    usage UTC; invoice_month begins at midnight of Los Angeles.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _GCP_FIELDS, context)
    if not _INVOICE_MONTH.match(record.values["invoice_month"] or ""):
        raise RefusedError("bad_timestamp", "expected YYYYMM", "invoice.month")
    _check_span(record, "usage_start_at", "usage_end_at")
    given = _read_credits(row.get(_CREDITS), record, context)
    if given:
        record.children = {GCP_CREDITS.name: given}
        record.values["credits_amount"] = sum(credit["amount"] for credit in given)
        record.codes.add("credit")
    return _flagged(record, "cost")


def _read_credits(value: object, record: Record, context: RecordContext) -> list[dict[str, Any]]:
    if value in (None, ""):
        return []
    if isinstance(value, str):
        # CSV holds them as text.
        try:
            value = json.loads(value, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise RefusedError("bad_type", "expected a list of objects", _CREDITS) from error
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise RefusedError("bad_type", "expected a list of objects", _CREDITS)
    found = []
    for number, credit in enumerate(value, 1):
        amount, _ = read_signed(credit.get("amount"), "credits.amount")
        fields = (
            ProviderField("credit_id", "id", ("id",)),
            ProviderField("credit_name", "text", ("name",)),
            ProviderField("credit_type", "text", ("type",)),
        )
        named = read_fields(
            rename(credit, fields, ignored=lambda _name: True), fields, context
        ).values
        place = {"credit_number": number, "usage_start_at": record.values["usage_start_at"]}
        found.append({**place, **named, "amount": amount})
    return found


# ---------------------------------------------------------------- Azure

_AZURE_FIELDS: Fields = (
    *_FILE_FIELDS,
    ProviderField("billing_account_id", "id", ("billingaccountid",)),
    ProviderField("billing_profile_id", "id", ("billingprofileid",)),
    ProviderField("sub_account_id", "id", ("subscriptionid", "subscriptionguid")),
    ProviderField("billing_period_start_at", "day", ("billingperiodstartdate",), is_required=True),
    ProviderField("billing_period_end_at", "last_day", ("billingperiodenddate",)),
    ProviderField("usage_start_at", "day", ("date", "usagedatetime"), is_required=True),
    ProviderField("invoice_id", "id", ("invoiceid",)),
    ProviderField("previous_invoice_id", "id", ("previousinvoiceid",)),
    ProviderField("invoice_section", "text", ("invoicesectionname", "invoicesection")),
    ProviderField("cost_center", "text", ("costcenter",)),
    ProviderField("resource_group", "text", ("resourcegroupname", "resourcegroup")),
    ProviderField("resource_id", "id", ("resourceid", "instanceid")),
    ProviderField("meter_id", "id", ("meterid",)),
    ProviderField("meter_name", "text", ("metername",)),
    ProviderField("meter_category", "text", ("metercategory",)),
    ProviderField("meter_sub_category", "text", ("metersubcategory",)),
    ProviderField("meter_region", "text", ("meterregion",)),
    ProviderField("consumed_service", "text", ("consumedservice",)),
    ProviderField("quantity", "number", ("quantity",)),
    ProviderField("unit_of_measure", "text", ("unitofmeasure",)),
    ProviderField("unit_price", "number", ("unitprice",)),
    ProviderField("effective_price", "number", ("effectiveprice",)),
    ProviderField("billing_cost", "amount", ("costinbillingcurrency", "cost"), is_required=True),
    ProviderField(
        "currency", "currency", ("billingcurrency", "billingcurrencycode"), is_required=True
    ),
    ProviderField("pricing_cost", "number", ("costinpricingcurrency",)),
    ProviderField("pricing_currency", "currency", ("pricingcurrency", "pricingcurrencycode")),
    ProviderField("exchange_rate_pricing_to_billing", "number", ("exchangeratepricingtobilling",)),
    ProviderField("charge_type", "text", ("chargetype",)),
    ProviderField("frequency"),
    ProviderField("pricing_model", "text", ("pricingmodel",)),
    ProviderField("publisher_type", "text", ("publishertype",)),
    ProviderField("tags", "tags"),
)
_AZURE_KNOWN = _listed(
    "accountid",
    "accountname",
    "accountownerid",
    "additionalinfo",
    "availabilityzone",
    "benefitid",
    "benefitname",
    "billingaccountname",
    "billingprofilename",
    "costallocationrulename",
    "costinusd",
    "customername",
    "customertenantid",
    "exchangeratedate",
    "invoicesectionid",
    "isazurecrediteligible",
    "location",
    "offerid",
    "partnercreditapplied",
    "partnerearnedcreditapplied",
    "partnerearnedcreditrate",
    "partnername",
    "partnertenantid",
    "partnumber",
    "paygcostinbillingcurrency",
    "paygcostinusd",
    "paygprice",
    "planname",
    "product",
    "productid",
    "productname",
    "productorderid",
    "productordername",
    "provider",
    "publisherid",
    "publishername",
    "reservationid",
    "reservationname",
    "resellermpnid",
    "resellername",
    "resourcelocation",
    "resourcelocationnormalized",
    "resourcename",
    "resourcetype",
    "servicefamily",
    "serviceinfo1",
    "serviceinfo2",
    "serviceperiodenddate",
    "serviceperiodstartdate",
    "servicename",
    "subscriptionname",
    "term",
)
AZURE = BillKind(
    fields=_AZURE_FIELDS,
    required=(
        ("billingperiodstartdate",),
        ("date", "usagedatetime"),
        ("costinbillingcurrency", "cost"),
        ("billingcurrency", "billingcurrencycode"),
    ),
    is_ignored=_AZURE_KNOWN,
    folds_case=True,
)
AZURE_COSTS = table_of(
    "azure__cost_details", _AZURE_FIELDS, key=_ADDRESS, event_at="usage_start_at"
)


def read_azure(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One row of Azure's cost details, of either agreement.

    Grain: one row per day, resource and meter, or charge. Units: billing_cost in `currency`;
    quantity in unit_of_measure; days UTC, the period's end made exclusive.

    Raises:
        RefusedError: a row code of the closed list.
    """
    return _flagged(read_fields(row, _AZURE_FIELDS, context), "billing_cost")


# ---------------------------------------------------------------- what they share

BILL_KINDS: Mapping[str, BillKind] = {
    "focus": FOCUS,
    "aws_cur2": AWS,
    "gcp_billing": GCP,
    "azure_cost": AZURE,
}


def period_of(record: Record) -> Period | None:
    """The period a row belongs to; None for a kind whose rows only add up."""
    values = record.values
    if "billing_period_start_at" not in values:
        return None
    return Period(
        billing_account_id=values.get("billing_account_id") or "",
        start_at=values["billing_period_start_at"],
        end_at=values.get("billing_period_end_at"),
    )


def _check_span(record: Record, start: str, end: str) -> None:
    begins, ends = record.values.get(start), record.values.get(end)
    if begins is not None and ends is not None and ends < begins:
        raise RefusedError("bad_bucket", f"ends at {ends}Z, begins at {begins}Z", end)


def _flagged(record: Record, amount: str) -> Record:
    if record.values[amount] < 0:
        record.codes.add("credit")
    return record
