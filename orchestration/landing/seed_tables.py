"""The tables people keep as seeds: their columns, keys and validity (contract, table T2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

_SQL_TYPES = {
    "text": "varchar",
    "key": "varchar",
    "choice": "varchar",
    "currency": "varchar",
    "zone": "varchar",
    "provider": "varchar",
    "month": "varchar",
    "date": "date",
    "time": "timestamp",
    "money": "decimal(38, 18)",
    "rate": "decimal(18, 12)",
    "count": "bigint",
    "boolean": "boolean",
}


@dataclass(frozen=True, slots=True)
class SeedColumn:
    """One column of a seed.

    Attributes:
        type: How its text is read: a key of _SQL_TYPES.
        is_required: Whether the file must have it, and a row a value in it.
        may_be_blank: Whether a row of a required column may leave it empty.
        default: Text that stands for an empty value.
    """

    name: str
    type: str = "text"
    is_required: bool = False
    may_be_blank: bool = False
    may_be_negative: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""

    @property
    def sql_type(self) -> str:
        """Its type in the warehouse."""
        return _SQL_TYPES[self.type]

    @property
    def digits(self) -> tuple[int, int]:
        """Digits before and behind the point that its type holds."""
        return (6, 12) if self.type == "rate" else (20, 18)


@dataclass(frozen=True)
class SeedTable:
    """One seed file.

    Attributes:
        key: Columns of which a value holds once at any time; the first names the row to people.
        validity: Columns of its half-open validity; None where it has none.
        choice: Columns by which rows of different keys are chosen between; two rows that hold at
            once and agree in all of them leave nothing to choose by.
        references: (column, seed that must know its value).
        is_shipped: Whether ours stands in where a user has no such file.
    """

    name: str
    columns: tuple[SeedColumn, ...]
    key: tuple[str, ...]
    validity: tuple[str, str] | None = None
    references: tuple[tuple[str, str], ...] = ()
    choice: tuple[str, ...] = ()
    is_shipped: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of its columns, in the order of the contract."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> SeedColumn:
        """The column of this name."""
        return self.columns[self.names.index(name)]


def _required(
    name: str,
    kind: str = "text",
    *,
    may_be_blank: bool = False,
    may_be_negative: bool = False,
) -> SeedColumn:
    return SeedColumn(
        name,
        kind,
        is_required=True,
        may_be_blank=may_be_blank,
        may_be_negative=may_be_negative,
    )


def _choice(name: str, *choices: str, default: str = "") -> SeedColumn:
    return SeedColumn(name, "choice", choices=choices, default=default)


def _required_choice(name: str, *choices: str) -> SeedColumn:
    return SeedColumn(name, "choice", is_required=True, choices=choices)


def _texts(*names: str) -> tuple[SeedColumn, ...]:
    return tuple(SeedColumn(name) for name in names)


_DATES = (_required("valid_from_date", "date"), SeedColumn("valid_to_date", "date"))
_TIMES = (_required("valid_from_at", "time"), SeedColumn("valid_to_at", "time"))
_BY_DATE = ("valid_from_date", "valid_to_date")
_BY_TIME = ("valid_from_at", "valid_to_at")
_ACCOUNT = (("account_id", "accounts"),)

SEEDS = (
    SeedTable(
        "accounts",
        (
            _required("account_id"),
            _required("name"),
            _required("currency", "currency"),
            _required("time_zone", "zone"),
            SeedColumn("wallet_id"),
            SeedColumn("closed_through", "month"),
            *_texts("baseline_model", "budget_owner", "legal_name", "legal_address", "tax_id"),
        ),
        key=("account_id",),
    ),
    SeedTable(
        "account_scopes",
        (
            _required("account_id"),
            _required("gateway"),
            _required_choice("scope_type", "gateway", "organization", "team", "project", "key"),
            SeedColumn("scope_id"),
            SeedColumn("provider", "provider"),
            _required_choice("billing_mode", "managed", "byok", "subscription"),
            _required_choice("billed_basis", "rule", "charge"),
            *_DATES,
        ),
        key=("gateway", "scope_type", "scope_id", "provider"),
        references=_ACCOUNT,
        validity=_BY_DATE,
    ),
    SeedTable(
        "wallets",
        (
            _required("wallet_id"),
            _required("currency", "currency"),
            SeedColumn("credit_value", "money", default="1"),
            _required("opening_balance", "money", may_be_negative=True),
            _required("opening_at", "time"),
            SeedColumn("low_balance_threshold", "money"),
            SeedColumn("expiry_days", "count"),
            _choice(
                "debit_rounding",
                *("none", "minor_unit_half_even", "minor_unit_half_up"),
                default="none",
            ),
            SeedColumn("debit_interval_minutes", "count", default="60"),
            SeedColumn("payment_customer_id"),
        ),
        key=("wallet_id",),
    ),
    SeedTable(
        "provider_accounts",
        (
            _required("provider_account_id"),
            _required("provider", "provider"),
            *_texts("gateway", "model_id", "provider_project_id"),
            *_texts("provider_api_key_id", "api_base_host"),
            _required("currency", "currency"),
            _required("time_zone", "zone"),
            _choice("invoice_rounding", "line", "invoice", "none"),
            *_DATES,
        ),
        key=(
            *("provider", "gateway", "model_id", "provider_project_id"),
            *("provider_api_key_id", "api_base_host"),
        ),
        validity=_BY_DATE,
    ),
    SeedTable(
        "markup_rules",
        (
            _required("rule_id"),
            _required("account_id"),
            _choice("routing_mode", "auto", "tier"),
            SeedColumn("provider", "provider"),
            SeedColumn("model"),
            _required("markup_rate", "rate", may_be_negative=True),
            SeedColumn("fixed_fee", "money"),
            *_DATES,
            SeedColumn("priority", "count"),
        ),
        key=("rule_id",),
        references=_ACCOUNT,
        validity=_BY_DATE,
        choice=("account_id", "routing_mode", "provider", "model", "priority", "valid_from_date"),
    ),
    SeedTable(
        "contract_prices",
        (
            _required("contract_price_id"),
            _required("provider_account_id"),
            _required("provider", "provider"),
            *_texts("model", "unit", "service_tier"),
            SeedColumn("is_batch", "boolean"),
            *_texts("context_band", "region"),
            SeedColumn("unit_price", "money"),
            _required_choice("unit_size", "1", "1000", "1000000"),
            SeedColumn("discount_rate", "rate"),
            _required("currency", "currency"),
            *_TIMES,
            SeedColumn("priority", "count"),
        ),
        key=("contract_price_id",),
        validity=_BY_TIME,
        choice=(
            *("provider_account_id", "provider", "model", "unit", "service_tier", "is_batch"),
            *("context_band", "region", "priority", "valid_from_at"),
        ),
    ),
    SeedTable(
        "subscriptions",
        (
            _required("subscription_id"),
            *_texts("account_id", "provider_account_id"),
            _required("description"),
            _required("amount", "money"),
            _required("currency", "currency"),
            _required_choice("interval", "month", "year"),
            SeedColumn("minimum_commitment", "money"),
            SeedColumn("cost_center"),
            *_DATES,
        ),
        key=("subscription_id",),
        references=_ACCOUNT,
        validity=_BY_DATE,
    ),
    SeedTable(
        "key_owners",
        (
            _required("api_key_id", "key"),
            *_texts("gateway", "api_key_name"),
            # A known key without a team or cost center is an exception, not a refused row.
            _required("team_id", may_be_blank=True),
            SeedColumn("project_id"),
            _required("cost_center", may_be_blank=True),
            *_texts("environment", "workflow", "customer_segment", "budget_owner", "ticket"),
            SeedColumn("batch_allowed", "boolean"),
            SeedColumn("allowed_service_tiers"),
            *_DATES,
        ),
        key=("api_key_id", "gateway"),
        validity=_BY_DATE,
    ),
    SeedTable(
        "teams",
        (
            _required("team_id"),
            _required("team_name"),
            *_texts("organization_id", "cost_center", "budget_owner"),
            SeedColumn("active", "boolean"),
        ),
        key=("team_id",),
    ),
    SeedTable(
        "cost_centers",
        (
            _required("cost_center"),
            _required("name"),
            *_texts("gl_account", "netsuite_department", "coupa_account"),
            SeedColumn("active", "boolean"),
        ),
        key=("cost_center",),
    ),
    SeedTable(
        "budgets",
        (
            _required("budget_id"),
            _required_choice(
                "scope_type", "key", "team", "project", "cost_center", "account", "organization"
            ),
            _required("scope_id"),
            _required_choice("period", "day", "week", "month", "quarter"),
            _required("amount", "money"),
            _required("currency", "currency"),
            SeedColumn("soft_limit", "money"),
            SeedColumn("hard_cap", "money"),
            SeedColumn("thresholds"),
            *_DATES,
        ),
        key=("budget_id",),
        validity=_BY_DATE,
    ),
    SeedTable(
        "shared_cost_rules",
        (
            _required("rule_id"),
            _required("cost_kind"),
            SeedColumn("account_id"),
            _required_choice("method", "usage_share", "equal", "fixed"),
            *_texts("target_type", "target_id"),
            SeedColumn("share", "rate"),
            *_DATES,
        ),
        key=("rule_id", "target_type", "target_id"),
        references=_ACCOUNT,
        validity=_BY_DATE,
    ),
    SeedTable(
        "fx_rates",
        (
            _required("rate_date", "date"),
            _required("base_currency", "currency"),
            _required("quote_currency", "currency"),
            _required("rate", "rate"),
            SeedColumn("source"),
        ),
        key=("rate_date", "base_currency", "quote_currency"),
    ),
    SeedTable(
        "unit_types",
        (
            _required("unit"),
            _required("name"),
            _required_choice(
                "family", "text", "audio", "image", "video", "request", "tool", "storage"
            ),
            _required_choice("direction", "input", "output", "none"),
            SeedColumn("display_size", "count"),
            SeedColumn("focus_unit"),
        ),
        key=("unit",),
        is_shipped=True,
    ),
    SeedTable(
        "provider_line_items",
        (
            _required("provider"),
            _required_choice("match_type", "exact", "prefix", "regex"),
            _required("pattern"),
            *_texts("model", "unit", "service_tier"),
            SeedColumn("is_batch", "boolean"),
            SeedColumn("unit_size", "count"),
            _required_choice("line_kind", "usage", "tax", "fee", "credit", "commitment", "ignore"),
            SeedColumn("priority", "count"),
        ),
        key=("provider", "match_type", "pattern"),
        is_shipped=True,
    ),
    SeedTable(
        "credit_packages",
        (
            _required("gateway"),
            _required("package_id"),
            _required("price", "money"),
            _required("currency", "currency"),
            _required("credits", "money"),
            *_DATES,
        ),
        key=("gateway", "package_id"),
        validity=_BY_DATE,
    ),
)
SEEDS_BY_NAME = {table.name: table for table in SEEDS}
