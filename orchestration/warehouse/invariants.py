"""The hard checks: what must hold between layers before readers see a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from orchestration.landing.kinds import PRICE_CATALOG
from orchestration.warehouse.check_scope import EVERYTHING, Scope, in_days
from orchestration.warehouse.expectations import CheckResult


@dataclass(frozen=True, slots=True)
class Invariant:
    """A hard check in SQL.

    Attributes:
        name: Name by which it is reported.
        table: Table it judges.
        description: What holds when it passes, in one sentence.
        sql: Query of the failing rows: key, and the difference in money or null. {started},
            {usage} and {windows} filter raw, marts and debits to the days in question, {batches}
            the ledger; {prices} is false where no catalog that is in question brought prices.
        subjects: Tables of which nothing can fail while all of them are empty: then the query,
            which may take long to plan, is not asked. None where it always is.
    """

    name: str
    table: str
    description: str
    sql: str
    subjects: tuple[str, ...] = ()


# Newest observation of every billable attempt, read from raw without the models' help.
_EFFECTIVE = """
    (
        select _gateway, started_at, spend, greatest(coalesce(batch_model_count, 1), 1) as records
        from raw.litellm__spend_logs
        where {started}
        qualify row_number() over (
            partition by _gateway, request_id, started_at, api_key_id
            order by source_version_at desc nulls last, observed_at desc nulls last, _row_hash desc
        ) = 1
    )
    union all
    (
        select _gateway, started_at, charge, 1
        from raw.gateway__usage
        where {started}
        qualify row_number() over (
            partition by _gateway, request_id, started_at, api_key_id
            order by
                source_priority desc,
                case when status = 'pending' then 1 else 0 end,
                source_version_at desc nulls last,
                observed_at desc nulls last,
                _row_hash desc
        ) = 1
    )
"""

_MEASURES = """
    sum(list_cost) as list_cost, sum(billed_cost) as billed_cost,
    sum(gateway_cost) as gateway_cost, sum(requests) as requests,
    sum(input_text_uncached_tokens) as input_tokens
"""
_ACTIVITIES = ("team", "user", "customer", "organization", "key")
_ACTIVITY = " union all ".join(
    f"select '{owner}' as owner, usage_date, currency, {_MEASURES} "
    f"from marts.{owner}_daily_activity where {{usage}} group by all"
    for owner in _ACTIVITIES
)

INVARIANTS = (
    Invariant(
        name="every_row_is_accounted_for",
        table="audit.load_batches",
        description="Per file, raw and quarantine hold exactly as many rows as the ledger says.",
        sql="""
            select b.file_name as key, cast(null as decimal(38, 18)) as amount
            from audit.load_batches as b
            left join (
                select load_batch_id, count(*) as rows from audit.quarantine group by all
            ) as q on b.load_batch_id = q.load_batch_id
            left join (
                select _load_batch_id, count(*) as rows
                from (
                    select _load_batch_id from raw.litellm__spend_logs where {started}
                    union all
                    select _load_batch_id from raw.gateway__usage where {started}
                )
                group by all
            ) as r on b.load_batch_id = r._load_batch_id
            where
                {batches} and (
                (b.status = 'loaded' and b.rows_quarantined <> coalesce(q.rows, 0))
                or (b.kind in (
                        'litellm_spend_logs', 'gateway_usage', 'openrouter_generations',
                        'cloudflare_ai_gateway'
                    )
                    and b.status = 'loaded' and b.rows_loaded <> coalesce(r.rows, 0))
                )
        """,
    ),
    Invariant(
        name="every_attempt_is_one_record",
        table="marts.usage_records",
        description="Usage records and effective raw rows are equally many per gateway and day: "
        "no join loses or multiplies one.",
        sql=f"""
            with effective as ({_EFFECTIVE}),
            expected as (
                select _gateway as gateway, cast(started_at as date) as day,
                    sum(records) as rows
                from effective group by all
            ),
            found as (
                select gateway, usage_date as day, count(*) as rows
                from marts.usage_records where {{usage}} group by all
            )
            select
                concat_ws('/', coalesce(e.gateway, f.gateway), coalesce(e.day, f.day)) as key,
                cast(null as decimal(38, 18)) as amount
            from expected as e
            full outer join found as f on e.gateway = f.gateway and e.day = f.day
            where coalesce(e.rows, 0) <> coalesce(f.rows, 0)
        """,
    ),
    Invariant(
        name="spend_is_conserved",
        table="marts.daily_spend",
        description="What gateways wrote adds up, per gateway and day, to the same amount in raw, "
        "usage_records and daily_spend (less records that repeat another), to the last digit.",
        sql=f"""
            with effective as ({_EFFECTIVE}),
            layers as (
                select 'raw' as layer, _gateway as gateway, cast(started_at as date) as day,
                    spend as amount
                from effective
                union all
                select 'records', gateway, usage_date, logged_cost
                from marts.usage_records where {{usage}}
                union all
                select 'kept', gateway, usage_date, gateway_cost
                from marts.usage_records where duplicate_of is null and {{usage}}
                union all
                select 'daily', gateway, usage_date, gateway_cost
                from marts.daily_spend where {{usage}}
            ),
            sums as (
                select gateway, day,
                    coalesce(sum(amount) filter (layer = 'raw'), 0) as raw,
                    coalesce(sum(amount) filter (layer = 'records'), 0) as records,
                    coalesce(sum(amount) filter (layer = 'kept'), 0) as kept,
                    coalesce(sum(amount) filter (layer = 'daily'), 0) as daily
                from layers group by all
            )
            select
                concat_ws('/', gateway, day) as key,
                cast(abs(raw - records) + abs(kept - daily) as decimal(38, 18)) as amount
            from sums
            where raw <> records or kept <> daily
        """,
    ),
    Invariant(
        name="costs_are_conserved",
        table="marts.daily_spend",
        description="List and billed cost, requests and tokens of daily_spend add up to those of "
        "the usage records, per gateway and day.",
        sql="""
            with kept as (
                select gateway, usage_date, sum(list_cost) as list_cost,
                    sum(billed_cost) as billed_cost, sum(requests) as requests,
                    sum(input_text_uncached_tokens) as input_tokens,
                    sum(output_text_tokens) as output_tokens
                from marts.usage_records where duplicate_of is null and {usage} group by all
            ),
            daily as (
                select gateway, usage_date, sum(list_cost) as list_cost,
                    sum(billed_cost) as billed_cost, sum(requests) as requests,
                    sum(input_text_uncached_tokens) as input_tokens,
                    sum(output_text_tokens) as output_tokens
                from marts.daily_spend where {usage} group by all
            )
            select
                concat_ws('/', coalesce(k.gateway, d.gateway), coalesce(k.usage_date, d.usage_date))
                    as key,
                cast(abs(coalesce(k.list_cost, 0) - coalesce(d.list_cost, 0)) as decimal(38, 18))
                    as amount
            from kept as k
            full outer join daily as d
                on k.gateway = d.gateway and k.usage_date = d.usage_date
            where
                k.list_cost is distinct from d.list_cost
                or k.billed_cost is distinct from d.billed_cost
                or k.requests is distinct from d.requests
                or k.input_tokens is distinct from d.input_tokens
                or k.output_tokens is distinct from d.output_tokens
        """,
    ),
    Invariant(
        name="activity_is_conserved",
        table="marts.team_daily_activity",
        description="Each of the activity marts adds up to the usage records, per day and "
        "currency: no record is lost or counted twice for want of an owner.",
        sql=f"""
            with kept as (
                select usage_date, currency, {_MEASURES}
                from marts.usage_records where duplicate_of is null and {{usage}} group by all
            ),
            expected as (
                select owners.owner, kept.*
                from kept cross join (select unnest({list(_ACTIVITIES)}) as owner) as owners
            ),
            activity as ({_ACTIVITY})
            select
                concat_ws('/', coalesce(e.owner, a.owner), coalesce(e.usage_date, a.usage_date),
                    coalesce(e.currency, a.currency)) as key,
                cast(abs(coalesce(e.billed_cost, 0) - coalesce(a.billed_cost, 0))
                    as decimal(38, 18)) as amount
            from expected as e
            full outer join activity as a
                on e.owner = a.owner and e.usage_date = a.usage_date and e.currency = a.currency
            where
                e.list_cost is distinct from a.list_cost
                or e.billed_cost is distinct from a.billed_cost
                or e.gateway_cost is distinct from a.gateway_cost
                or e.requests is distinct from a.requests
                or e.input_tokens is distinct from a.input_tokens
        """,
    ),
    Invariant(
        name="chargeback_loses_no_usage",
        table="marts.chargeback",
        description="The days that chargeback is drawn from hold the billed cost and the requests "
        "of the usage records, per UTC day, account and currency.",
        sql="""
            with kept as (
                select usage_date, account_id, currency, sum(billed_cost) as billed_cost,
                    sum(requests) as requests
                from marts.usage_records where duplicate_of is null and {usage} group by all
            ),
            days as (
                select usage_date, account_id, currency, sum(billed_cost) as billed_cost,
                    sum(requests) as requests
                from intermediate.int_chargeback__days where {usage} group by all
            )
            select
                concat_ws('/', coalesce(k.usage_date, d.usage_date),
                    coalesce(k.account_id, d.account_id)) as key,
                cast(abs(coalesce(k.billed_cost, 0) - coalesce(d.billed_cost, 0))
                    as decimal(38, 18)) as amount
            from kept as k
            full outer join days as d
                on k.usage_date = d.usage_date and k.account_id = d.account_id
                    and k.currency = d.currency
            where
                k.billed_cost is distinct from d.billed_cost
                or k.requests is distinct from d.requests
        """,
    ),
    Invariant(
        name="chargeback_is_conserved",
        table="marts.chargeback",
        description="Per account and currency chargeback of all months, closed and open, adds up "
        "to the usage, the fees and the subscriptions known now, to the last digit: what is spread "
        "is spread whole, and what a closed month lacks an open one bears.",
        sql="""
            with facts as (
                select account_id, currency, sum(amount) as amount, sum(requests) as requests
                from intermediate.int_chargeback__facts group by all
            ),
            charged as (
                select account_id, currency, sum(total_cost) as amount, sum(requests) as requests
                from marts.chargeback group by all
            )
            select
                concat_ws('/', coalesce(f.account_id, c.account_id),
                    coalesce(f.currency, c.currency)) as key,
                cast(abs(coalesce(f.amount, 0) - coalesce(c.amount, 0)) as decimal(38, 18))
                    as amount
            from facts as f
            full outer join charged as c
                on f.account_id = c.account_id and f.currency = c.currency
            where
                coalesce(f.amount, 0) <> coalesce(c.amount, 0)
                or coalesce(f.requests, 0) <> coalesce(c.requests, 0)
        """,
    ),
    Invariant(
        name="closed_periods_stand",
        table="marts.chargeback",
        description="The rows of a closed month are those of its close, equally many and to the "
        "same amount.",
        sql="""
            with frozen as (
                select account_id, billing_month,
                    count(*) filter (row_type = 'chargeback') as rows,
                    sum(coalesce(direct_cost, 0) + shared_cost + adjustments)
                        filter (row_type = 'chargeback') as amount
                from staging.stg_closes__rows group by all
            ),
            charged as (
                select account_id, billing_month, count(*) as rows, sum(total_cost) as amount
                from marts.chargeback where period_status = 'closed' group by all
            )
            select
                concat_ws('/', coalesce(f.account_id, c.account_id),
                    coalesce(f.billing_month, c.billing_month)) as key,
                cast(abs(coalesce(f.amount, 0) - coalesce(c.amount, 0)) as decimal(38, 18))
                    as amount
            from frozen as f
            full outer join charged as c
                on f.account_id = c.account_id and f.billing_month = c.billing_month
            where
                coalesce(f.rows, 0) <> coalesce(c.rows, 0)
                or coalesce(f.amount, 0) <> coalesce(c.amount, 0)
        """,
    ),
    Invariant(
        name="units_are_disjoint",
        table="marts.usage_records",
        description="Input and output totals equal the sums of their units, record by record.",
        sql="""
            select usage_record_id as key, list_cost as amount
            from marts.usage_records
            where {usage} and (
                input_total_tokens <> input_text_uncached_tokens + input_cached_read_tokens
                    + input_cache_write_5m_tokens + input_cache_write_30m_tokens
                    + input_cache_write_1h_tokens + input_cache_write_12h_tokens
                    + input_cache_write_unknown_ttl_tokens + input_audio_tokens
                    + input_audio_cached_tokens + input_image_tokens + input_video_tokens
                    + input_tool_tokens + embedding_tokens + moderation_tokens
                or output_total_tokens <> output_text_tokens + output_reasoning_tokens
                    + output_audio_tokens + output_image_tokens
            )
        """,
    ),
    Invariant(
        name="prices_held_at_the_moment_of_use",
        table="marts.usage_records",
        description="Every priced record names a price set that held when the record started; "
        "a set from before the first observation is marked price_backcast.",
        sql="""
            select u.usage_record_id as key, u.list_cost as amount
            from marts.usage_records as u
            left join marts.price_sets as p on u.price_set_id = p.price_set_id
            where
                {usage} and u.cost_status = 'priced'
                and (
                    p.price_set_id is null
                    or u.started_at < p.valid_from_at
                    or u.started_at >= p.valid_to_at
                    or p.is_backcast <> (u.defect_codes like '%price_backcast%')
                )
        """,
    ),
    Invariant(
        name="price_validity_does_not_overlap",
        table="marts.price_snapshots",
        description="At any moment a catalog has one price for a model entry, unit, tier, batch, "
        "context band and region.",
        sql="""
            select price_id as key, cast(null as decimal(38, 18)) as amount
            from (
                select price_id, valid_from_at, lag(valid_to_at) over (
                    partition by source, price_key, provider, unit, service_tier, is_batch,
                        context_band, region
                    order by valid_from_at, valid_to_at
                ) as previous_to_at
                from marts.price_snapshots
                where {prices}
            )
            where valid_from_at < previous_to_at
        """,
    ),
    Invariant(
        name="wallet_usage_is_conserved",
        table="marts.wallet_ledger",
        description="What debits are reckoned from adds up, per account and day, to the billed "
        "cost of the usage records, and without those on somebody's own key to what wallets pay.",
        sql="""
            with kept as (
                select account_id, usage_date, currency, sum(billed_cost) as billed_cost,
                    sum(billed_cost) filter (billing_mode <> 'byok') as debit_cost
                from marts.usage_records where duplicate_of is null and {usage} group by all
            ),
            windows as (
                select account_id, usage_date, currency, sum(billed_cost) as billed_cost,
                    sum(debit_cost) as debit_cost
                from intermediate.int_wallet__usage where {usage} group by all
            )
            select
                concat_ws('/', coalesce(k.account_id, w.account_id),
                    coalesce(k.usage_date, w.usage_date), coalesce(k.currency, w.currency)) as key,
                cast(abs(coalesce(k.debit_cost, 0) - coalesce(w.debit_cost, 0))
                    as decimal(38, 18)) as amount
            from kept as k
            full outer join windows as w
                on k.account_id = w.account_id and k.usage_date = w.usage_date
                    and k.currency = w.currency
            where
                k.billed_cost is distinct from w.billed_cost
                or k.debit_cost is distinct from w.debit_cost
        """,
    ),
    Invariant(
        name="every_debit_is_booked_once",
        table="marts.wallet_ledger",
        description="Per wallet and window of usage the ledger has the debit that was reckoned, "
        "once and, with corrections of closed months, with its amount, unless the gateway records "
        "debits itself.",
        sql="""
            with reckoned as (
                select wallet_id, window_from_at, debit_amount
                from intermediate.int_wallet__debits
                where {windows} and not has_recorded_debits
                    and (debit_amount is null or debit_amount <> 0)
            ),
            booked as (
                select wallet_id, window_from_at, sum(amount) as amount,
                    count(*) filter (origin = 'usage') as entries,
                    bool_or(origin <> 'usage') as is_corrected
                from marts.wallet_ledger
                where {windows} and (origin = 'usage'
                    or (origin = 'usage_correction' and gateway is null)) group by all
            )
            select
                concat_ws('/', coalesce(r.wallet_id, b.wallet_id),
                    coalesce(r.window_from_at, b.window_from_at)) as key,
                cast(abs(coalesce(r.debit_amount, 0) + coalesce(b.amount, 0)) as decimal(38, 18))
                    as amount
            from reckoned as r
            full outer join booked as b
                on r.wallet_id = b.wallet_id and r.window_from_at = b.window_from_at
            where
                (r.wallet_id is null and b.amount <> 0)
                or b.entries is distinct from 1
                or (r.wallet_id is not null and r.debit_amount is distinct from -b.amount
                    and not (r.debit_amount is null and b.entries = 1))
        """,
        subjects=("intermediate.int_wallets__described", "marts.wallet_ledger"),
    ),
    Invariant(
        name="balances_are_sums_of_the_ledger",
        table="marts.wallet_balances",
        description="A wallet's balance, the balance after its last entry and at the end of its "
        "last month are the sum of its entries.",
        sql="""
            with summed as (
                select wallet_id, coalesce(sum(amount), 0) as amount,
                    arg_max(balance_after, (occurred_at, origin <> 'opening', entry_id)) as last
                from marts.wallet_ledger group by all
            ),
            months as (
                select wallet_id, arg_max(closing_balance, billing_month) as closing,
                    sum(change_amount) as change
                from marts.wallet_months group by all
            )
            select b.wallet_id as key,
                cast(abs(b.balance_amount - coalesce(s.amount, 0)) as decimal(38, 18)) as amount
            from marts.wallet_balances as b
            left join summed as s on b.wallet_id = s.wallet_id
            left join months as m on b.wallet_id = m.wallet_id
            where
                b.balance_amount <> coalesce(s.amount, 0)
                or s.amount is distinct from s.last
                or s.amount is distinct from m.closing
                or s.amount is distinct from m.change
        """,
    ),
)


def check_invariants(
    connection: duckdb.DuckDBPyConnection, scope: Scope = EVERYTHING
) -> list[CheckResult]:
    """Run every hard check over what is in question; each names its failing rows."""
    filters = {
        "started": in_days("started_at", scope.days),
        "usage": in_days("usage_date", scope.days),
        "windows": in_days("window_from_at", scope.days),
        "batches": f"b.batch_number > {scope.after_batch}",
        "prices": "true" if _has_new_prices(connection, scope) else "false",
    }
    return [_check(connection, invariant, filters) for invariant in INVARIANTS]


def _has_new_prices(connection: duckdb.DuckDBPyConnection, scope: Scope) -> bool:
    return (
        scope.days is None
        or connection.execute(
            "select count(*) from audit.load_batches where kind = ? and batch_number > ?",
            [PRICE_CATALOG, scope.after_batch],
        ).fetchall()[0][0]
        > 0
    )


def _check(
    connection: duckdb.DuckDBPyConnection, invariant: Invariant, filters: dict[str, str]
) -> CheckResult:
    sql = invariant.sql.format(**filters)
    rows, amount, keys = 0, None, []
    if _has_subjects(connection, invariant):
        found = connection.execute(f"select count(*), sum(amount) from ({sql})").fetchall()
        ((rows, amount),) = found
    if rows:
        keys = [
            key
            for (key,) in connection.execute(
                f"select key from ({sql}) order by key limit 20"
            ).fetchall()
        ]
    return CheckResult(
        check=invariant.name,
        table=invariant.table,
        severity="hard",
        passed=rows == 0,
        failing_rows=rows,
        amount_at_stake=amount,
        failing_keys=keys,
        description=invariant.description,
    )


def _has_subjects(connection: duckdb.DuckDBPyConnection, invariant: Invariant) -> bool:
    return not invariant.subjects or any(
        connection.execute(f"select 1 from {table} limit 1").fetchall()
        for table in invariant.subjects
    )


def write_results(
    connection: duckdb.DuckDBPyConnection,
    results: list[CheckResult],
    checked_at: datetime,
    *,
    is_part: bool = False,
) -> None:
    """Replace audit.check_results by the results of this run.

    Args:
        is_part: Whether checks that are not among the results keep theirs.
    """
    names = [result.check for result in results]
    connection.execute("begin")
    connection.execute(
        'delete from audit.check_results where not $is_part or "check" in (select unnest($names))',
        {"is_part": is_part, "names": names},
    )
    connection.executemany(
        "insert into audit.check_results values (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                result.check,
                result.table,
                result.severity,
                result.passed,
                result.failing_rows,
                result.amount_at_stake,
                ", ".join(result.failing_keys),
                checked_at,
            )
            for result in results
        ],
    )
    connection.execute("commit")
