"""`tollbook rerate`: what a past month would have cost at other list prices; a report, no fact."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.core.refusals import shown
from orchestration.warehouse.connection import open_reader
from orchestration.warehouse.reading import published_file

COLUMNS = (
    "account_id",
    "provider",
    "model",
    "requests",
    "list_cost",
    "rerated_cost",
    "difference",
    "unpriced_lines",
    "currency",
)
_PLACES = Decimal(1).scaleb(-18)


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog as it stood at a moment (UTC)."""

    source: str
    at: datetime


@dataclass(slots=True)
class Rerated:
    """One model of one account at other prices.

    Attributes:
        list_cost: What the usage that can be compared costs at the prices of its time.
        rerated_cost: The same at the others; NULL where none of it has a price there.
        unpriced_lines: Sorts of units used that have no price there; they are in neither amount.
    """

    account_id: str
    provider: str
    model: str
    currency: str
    requests: int = 0
    list_cost: Decimal | None = None
    rerated_cost: Decimal | None = None
    unpriced_lines: int = 0

    @property
    def row(self) -> tuple[object, ...]:
        """The same in the order of COLUMNS."""
        difference = None
        if self.list_cost is not None and self.rerated_cost is not None:
            difference = self.rerated_cost - self.list_cost
        return (
            self.account_id,
            self.provider,
            self.model,
            self.requests,
            self.list_cost,
            self.rerated_cost,
            difference,
            self.unpriced_lines,
            self.currency,
        )


def rerate(
    runtime: Runtime, *, month: str, prices: str, account: str | None
) -> tuple[Catalog, list[Rerated]]:
    """A month's usage by account and model, at its own list prices and at those of a catalog.

    Args:
        prices: A catalog (litellm), the same at a day (litellm@2026-09-25), or the id or sha256 of
            a price snapshot: the catalog as it stood when that was observed.

    Raises:
        ConfigurationError: no such prices, or no usage in the month.
        NotPublishedError: no run has published yet.
    """
    with open_reader(published_file(runtime)) as connection:
        catalog = _find_catalog(connection, prices)
        rows = _read_lines(connection, catalog, month=month, account=account)
    if not rows:
        whose = f" of account {account}" if account else ""
        raise ConfigurationError(f"{month}: no usage{whose} with a list price; nothing to rerate")
    found: dict[tuple[str, str, str, str], Rerated] = {}
    for account_id, provider, model, currency, requests, quantity, cost, price in rows:
        key = (account_id, provider, model, currency)
        each = found.setdefault(key, Rerated(account_id, provider, model, currency))
        each.requests = max(each.requests, requests)
        if price is None:
            each.unpriced_lines += 1
            continue
        with localcontext(prec=76):
            amount = (quantity * price).quantize(_PLACES)
            each.rerated_cost = (each.rerated_cost or Decimal(0)) + amount
            each.list_cost = (each.list_cost or Decimal(0)) + cost
    return catalog, [found[key] for key in sorted(found)]


def _find_catalog(connection: duckdb.DuckDBPyConnection, prices: str) -> Catalog:
    name, _, day = prices.partition("@")
    if day:
        try:
            at = datetime.fromisoformat(day)
        except ValueError as error:
            raise ConfigurationError(
                f"--prices {shown(prices)}: write catalog@2026-10-31"
            ) from error
    else:
        at = datetime(9999, 1, 1)  # noqa: DTZ001  # naive UTC, as in the warehouse
    sources = connection.execute(
        "select source from marts.price_snapshots where source = ? and valid_from_at <= ? limit 1",
        [name, at],
    ).fetchall()
    if sources:
        return Catalog(name, at)
    snapshots = connection.execute(
        "select source, max(observed_at) from marts.price_snapshots "
        "where price_snapshot_id = $id or snapshot_sha256 = $id or price_id = $id group by 1",
        {"id": prices},
    ).fetchall()
    if len(snapshots) != 1:
        known = connection.execute(
            "select string_agg(distinct source, ', ' order by source) from marts.price_snapshots"
        ).fetchall()[0][0]
        raise ConfigurationError(
            f"--prices {shown(prices)}: no such prices; catalogs are {known or 'none'}, ids are in "
            "marts.price_snapshots"
        )
    return Catalog(*snapshots[0])


def _read_lines(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    *,
    month: str,
    account: str | None,
) -> list[tuple[str, str, str, str, int, Decimal, Decimal, Decimal | None]]:
    """Account, provider, model, currency, requests, quantity at the day's rate, cost, new price.

    One row per price that was used. Its counterpart is that of the same model entry, unit, tier,
    batch, context band and region; where the other catalog quotes no tier, band or region, its
    base price, as when usage is priced.
    """
    return connection.execute(
        """
        with usage as (
            select usage_record_id, account_id, provider, model, currency, fx_rate, requests
            from marts.usage_records
            where billing_month = $month and duplicate_of is null
                and ($account is null or account_id = $account)
        ),
        used as (
            select usage.account_id, coalesce(usage.provider, '') as provider,
                usage.model, usage.currency, lines.price_id,
                cast(sum(usage.requests) as bigint) as requests,
                sum(lines.quantity * coalesce(usage.fx_rate, 1)) as quantity,
                sum(lines.list_cost) as cost
            from usage
            inner join marts.cost_lines as lines
                on usage.usage_record_id = lines.usage_record_id
            where lines.price_id is not null and lines.quantity > 0
                and lines.list_cost is not null
            group by all
        ),
        theirs as (
            select * from marts.price_snapshots
            where source = $source and valid_from_at <= $at and valid_to_at > $at
        ),
        paired as (
            select used.*, theirs.unit_price
            from used
            inner join (select distinct on (price_id) * from marts.price_snapshots) as ours
                on used.price_id = ours.price_id
            left join theirs
                on ours.unit = theirs.unit
                    and (ours.price_key = theirs.price_key or ours.model = theirs.model)
                    and ours.is_batch = theirs.is_batch
                    and theirs.service_tier in (ours.service_tier, 'standard')
                    and (theirs.context_band is null or theirs.context_band = ours.context_band)
                    and (theirs.region is null or theirs.region = ours.region)
            qualify row_number() over (
                partition by used.account_id, used.provider, used.model, used.currency,
                    used.price_id
                order by ours.price_key = theirs.price_key desc,
                    ours.provider is not distinct from theirs.provider desc,
                    ours.service_tier = theirs.service_tier desc,
                    theirs.context_band is null asc, theirs.region is null asc, theirs.price_id
            ) = 1
        )
        select account_id, provider, model, currency, requests, quantity, cost, unit_price
        from paired order by all
        """,
        {
            "month": month,
            "account": account,
            "source": catalog.source,
            "at": catalog.at,
        },
    ).fetchall()
