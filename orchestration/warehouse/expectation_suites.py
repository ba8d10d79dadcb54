"""What the check step expects of the marts and the load ledger, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Severity = Literal["hard", "warning"]

COST_STATUSES = ("priced", "free", "cache_hit", "failed", "unpriced", "quantity_unknown")
# Clocks of gateways and providers disagree; a day ahead is no longer a clock, it is a wrong date.
FUTURE_TOLERANCE = timedelta(days=1)


# The causes of a variance in the order in which they are applied (contract, table T6).
VARIANCE_CAUSES = (
    *("tax", "fee", "credit", "fx", "time_zone", "period_straddle", "late_usage", "byok"),
    *("duplicate_usage", "failed_request", "retry_charge", "partial_stream", "missing_usage"),
    *("bypass_traffic", "model_mapping", "unit_mismatch", "cache_split", "service_tier"),
    *("context_band", "unpriced", "price_version", "commitment", "markup", "rounding"),
    "unexplained",
)
_CAUSES_SUM = " + ".join(f"coalesce({cause}_amount, 0)" for cause in VARIANCE_CAUSES)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One of Great Expectations' own expectations.

    Attributes:
        type: Its registered name, `expect_...`.
        kwargs: Its arguments; `column` is a column of the suite's table.
        says: What it expects, in words, for Data Docs.
    """

    type: str
    kwargs: Mapping[str, object]
    says: str


@dataclass(frozen=True, slots=True)
class Check:
    """One fact that a table must satisfy.

    Attributes:
        name: The fact as a sentence; unique.
        severity: `hard` stops a publish, `warning` does not.
        meaning: What a failing row means, for a reader who has not seen the code.
        failing: SQL clause behind `from <rows>` that leaves the failing rows; no braces.
        amount: SQL expression of the money at stake in one failing row; None if there is none.
        shown: Columns of a failing row that Data Docs show beside its key and amount.
        built_ins: The expectations that decide. Without any, the check expects that `failing`
            finds no row.
    """

    name: str
    severity: Severity
    meaning: str
    failing: str
    amount: str | None = None
    shown: tuple[str, ...] = ()
    built_ins: tuple[BuiltIn, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """The checks of one table.

    Attributes:
        table: `schema.table` in the warehouse.
        key: SQL expression that names one row to a person.
        currency: SQL expression of the currency of the row's amounts.
        checks: In the order in which people should read them.
        day: Column with the day of a row, where the table has days.
        filter: SQL condition on the rows in question.
    """

    table: str
    key: str
    currency: str
    checks: tuple[Check, ...]
    day: str | None = None
    filter: str = "true"

    @property
    def rows(self) -> str:
        """The rows in question, as a relation."""
        if self.filter == "true":
            return self.table
        return f"(select * from {self.table} where {self.filter})"


def suites(*, as_of: datetime, days: str = "true") -> tuple[Suite, ...]:
    """All suites, one per table.

    Args:
        as_of: The run's clock, UTC where it names no zone.
        days: SQL condition on usage_date: the days in question, in tables that have days.
    """
    return (
        _usage_records(as_of, days),
        _exceptions(),
        *_reconciliations(days),
        _load_batches(),
    )


def _usage_records(as_of: datetime, days: str) -> Suite:
    return Suite(
        day="usage_date",
        filter=days,
        table="marts.usage_records",
        key="concat(gateway, '/', request_id)",
        currency="currency",
        checks=(
            _request_ids_are_unique(days),
            _every_usage_is_priced(),
            _money_is_never_negative(),
            _cost_status_is_known(),
            _costs_agree_with_status(),
            _no_usage_in_the_future(as_of),
        ),
    )


def _request_ids_are_unique(days: str) -> Check:
    # A batch of several models is one request with a record per model: not a repetition.
    # A build takes up all days of an id that came again, so that the days in question hold them.
    # Hashes narrow to ids that may repeat, in half the memory; the window then looks at the ids.
    counted = (
        "duplicate_of is null "
        "and not contains(coalesce(defect_codes, ''), 'batch_of_several_models')"
    )
    return Check(
        name="request ids are unique",
        severity="warning",
        meaning=(
            "The gateway logged this request id more than once. At stake is every record after "
            "the first: the recorded charge of a marked duplicate (it counts in no total), the "
            "billed cost of any other (it does count)."
        ),
        failing=(
            f"where duplicate_of is not null or ({counted} and hash(gateway, request_id) in ("
            f"select hash(gateway, request_id) from marts.usage_records where {counted} and {days} "
            "group by all having count(*) > 1)) "
            "qualify duplicate_of is not null or row_number() over ("
            "partition by gateway, request_id, duplicate_of is null order by occurrence) > 1"
        ),
        amount=(
            "case when duplicate_of is not null "
            "then coalesce(nullif(gateway_cost, 0), billed_cost) else billed_cost end"
        ),
        shown=("occurrence", "started_at", "model", "duplicate_of"),
    )


def _every_usage_is_priced() -> Check:
    return Check(
        name="every usage is priced",
        severity="warning",
        meaning=(
            "No price is known for this provider, model and unit, so the cost is NULL and in no "
            "total. At stake is what the gateway itself recorded, where it recorded a charge."
        ),
        failing="where cost_status = 'unpriced' and duplicate_of is null",
        amount="case when gateway_cost > 0 then gateway_cost end",
        shown=("occurrence", "usage_date", "provider", "model"),
    )


def _money_is_never_negative() -> Check:
    return Check(
        name="money columns are never negative",
        severity="hard",
        meaning=(
            "A cost below zero: a credit or a sign error was read as usage. At stake is the "
            "amount below zero, the larger of the two."
        ),
        # GX's own expectation would turn the amounts into floats on their way to the page.
        failing="where list_cost < 0 or billed_cost < 0",
        amount="-least(list_cost, billed_cost)",
        shown=("occurrence", "model", "list_cost", "billed_cost"),
    )


def _cost_status_is_known() -> Check:
    statuses = ", ".join(f"'{status}'" for status in COST_STATUSES)
    return Check(
        name="cost_status is one of the known states",
        severity="hard",
        meaning="A record whose cost_status no reader knows how to treat. At stake is its cost.",
        failing=f"where cost_status is null or cost_status not in ({statuses})",
        amount="coalesce(billed_cost, gateway_cost)",
        built_ins=(
            BuiltIn(
                type="expect_column_values_to_be_in_set",
                kwargs={"column": "cost_status", "value_set": list(COST_STATUSES)},
                says=f"cost_status is one of {', '.join(COST_STATUSES)}.",
            ),
            BuiltIn(
                type="expect_column_values_to_not_be_null",
                kwargs={"column": "cost_status"},
                says="cost_status is never missing.",
            ),
        ),
    )


def _costs_agree_with_status() -> Check:
    return Check(
        name="a cost is known exactly when cost_status says so",
        severity="hard",
        meaning=(
            "The status claims a list cost that is missing, or the cost is there although the "
            "status says it cannot be known: the total is too low, or counts a guess."
        ),
        failing="where (list_cost is null) <> (cost_status in ('unpriced', 'quantity_unknown'))",
        amount="coalesce(billed_cost, gateway_cost)",
        shown=("occurrence", "usage_date", "model", "cost_status", "list_cost"),
    )


def _no_usage_in_the_future(as_of: datetime) -> Check:
    utc = as_of.astimezone(UTC).replace(tzinfo=None) if as_of.tzinfo else as_of
    latest = (utc + FUTURE_TOLERANCE).replace(microsecond=0)
    shown = latest.isoformat(sep=" ")
    return Check(
        name="no usage is dated in the future",
        severity="warning",
        meaning=(
            "The record starts more than a day after this run's clock, so it stands in a period "
            "that has not begun. At stake is its billed cost."
        ),
        failing=f"where started_at > timestamp '{shown}'",
        amount="billed_cost",
        built_ins=(
            BuiltIn(
                type="expect_column_values_to_be_between",
                kwargs={"column": "started_at", "max_value": latest},
                says=f"started_at is not after {shown} UTC.",
            ),
        ),
    )


def _exceptions() -> Suite:
    return Suite(
        table="marts.exceptions",
        key="subject_id",
        currency="currency",
        checks=(
            Check(
                name="no usage record is missing",
                severity="warning",
                meaning=(
                    "An application's log or the gateway's own request count knows of requests "
                    "that no usage record accounts for: spend that nobody would see."
                ),
                failing="where exception_type = 'missing_usage_record'",
                amount="amount_at_stake",
                shown=("subject_type", "account_id", "billing_month"),
            ),
        ),
    )


def _reconciliations(days: str) -> tuple[Suite, ...]:
    return (
        Suite(
            table="marts.request_reconciliation",
            key="concat(gateway, '/', request_id, ' (', side, ')')",
            currency="currency",
            day="usage_date",
            filter=days,
            checks=(
                Check(
                    name="applications and gateways counted the same tokens",
                    severity="warning",
                    meaning=(
                        "The response's own usage and the usage record of a request differ. At "
                        "stake is the difference in cost, where both are known."
                    ),
                    failing="where match_status = 'token_mismatch'",
                    amount="abs(cost_delta)",
                    shown=("model", "input_tokens_delta", "output_tokens_delta", "likely_cause"),
                ),
            ),
        ),
        Suite(
            table="marts.gateway_reconciliation",
            key="concat_ws('/', gateway, usage_date, coalesce(api_key_id, 'no key'))",
            currency="currency",
            checks=(
                Check(
                    name="gateway logs hold what the gateway counted",
                    severity="warning",
                    meaning=(
                        "A gateway's own counter of a day (LiteLLM's roll-up by key, OpenRouter's "
                        "activity) has more requests, tokens or spend than was logged, by more "
                        "than half a percent: calls that never got a row, or that were refused "
                        "here. At stake is the spend the log lacks."
                    ),
                    failing="where status = 'missing_usage'",
                    amount="greatest(difference_amount, 0)",
                    shown=("counted_requests", "logged_records", "counted_cost", "logged_cost"),
                ),
            ),
        ),
        Suite(
            table="marts.provider_reconciliation",
            key="concat_ws('/', provider_account_id, provider_date, model, unit, service_tier)",
            currency="currency",
            checks=(
                Check(
                    name="final provider days have no unexplained difference",
                    severity="warning",
                    meaning=(
                        "A provider's usage or cost of a day that will not change any more "
                        "differs from what the gateways recorded, and no cause is in evidence. At "
                        "stake is what is left unexplained."
                    ),
                    failing="where is_final and abs(unexplained_amount) > 0.01",
                    amount="abs(unexplained_amount)",
                    shown=("gateway_amount", "usage_amount", "cost_amount", "variance_amount"),
                ),
            ),
        ),
        Suite(
            table="marts.invoice_reconciliation",
            key="concat_ws('/', vendor, invoice_number, line_no)",
            currency="currency",
            checks=(
                Check(
                    name="every invoice line is explained",
                    severity="warning",
                    meaning=(
                        "A line bills something else than what was expected, and its causes do "
                        "not come to the difference. At stake is what is left unexplained."
                    ),
                    failing="where status in ('unexplained', 'unmapped')",
                    amount="coalesce(nullif(abs(unexplained_amount), 0), abs(amount_invoiced))",
                    shown=("description", "amount_invoiced", "amount_expected", "status"),
                ),
                Check(
                    name="the causes of a line add up to its variance",
                    severity="hard",
                    meaning=(
                        "A cent of an invoice line is in two causes, or in none. At stake is the "
                        "difference."
                    ),
                    failing=f"where variance_amount <> {_CAUSES_SUM}",
                    amount=f"abs(variance_amount - ({_CAUSES_SUM}))",
                    shown=("variance_amount",),
                ),
            ),
        ),
        Suite(
            table="marts.wallet_reconciliation",
            key="concat_ws('/', wallet_id, window_from_at)",
            currency="currency",
            checks=(
                Check(
                    name="wallets were debited what was used",
                    severity="warning",
                    meaning=(
                        "A window's recorded debit is not what the usage records of the window "
                        "cost. At stake is the difference."
                    ),
                    failing="where difference_amount <> 0",
                    amount="abs(difference_amount)",
                    shown=("window_to_at", "expected_debit", "recorded_debit", "cause"),
                ),
            ),
        ),
    )


def _load_batches() -> Suite:
    return Suite(
        table="audit.load_batches",
        key="concat(source, '/', file_name)",
        currency="cast(null as varchar)",
        checks=(
            Check(
                name="every file adds up",
                severity="hard",
                meaning=(
                    "Rows read from this file are neither loaded, nor known before, nor "
                    "quarantined: a row was lost or counted twice."
                ),
                failing=(
                    "where coalesce(rows_in, 0) <> coalesce(rows_loaded, 0) "
                    "+ coalesce(rows_already_known, 0) + coalesce(rows_quarantined, 0)"
                ),
                shown=(
                    "load_batch_id",
                    "status",
                    "rows_in",
                    "rows_loaded",
                    "rows_already_known",
                    "rows_quarantined",
                ),
            ),
        ),
    )
