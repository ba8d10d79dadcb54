{{ config(
    meta={'rows_need': ['stg_wallet__recharge_requests', 'wallet_ledger', 'int_payments__unified']}
) }}
-- Grain: one row per request to top a wallet up, with what came of it.

with requests as (
    select * from {{ ref('int_recharges__matched') }}
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

usage as (
    select * from {{ ref('usage_records') }}
),

-- The span that explains the request, and the one of equal length before it.
spans as (
    select
        requests.recharge_id,
        requests.usage_scope_type,
        requests.usage_scope_id,
        wallets.account_id,
        requests.usage_from_at,
        requests.usage_to_at,
        requests.usage_from_at - (requests.usage_to_at - requests.usage_from_at) as before_from_at
    from requests
    left join wallets on requests.wallet_id = wallets.wallet_id
    where requests.usage_from_at is not null and requests.usage_to_at is not null
),

days as (
    select
        *,
        cast(unnest(range(
            cast(before_from_at as date), usage_to_at, interval 1 day
        )) as date) as usage_date
    from spans
    -- A longer span is a typing error; nobody tops up for more than a year.
    where usage_to_at - usage_from_at <= interval 366 day
),

used as (
    select
        days.recharge_id,
        sum(case when usage.started_at >= days.usage_from_at then usage.billed_cost end)
            as usage_cost,
        sum(case when usage.started_at < days.usage_from_at then usage.billed_cost end)
            as cost_before
    from days
    inner join usage on days.usage_date = usage.usage_date
    where
        usage.duplicate_of is null
        and usage.started_at >= days.before_from_at
        and usage.started_at < days.usage_to_at
        and case coalesce(days.usage_scope_type, '')
            when 'key' then usage.api_key_id = days.usage_scope_id
            when 'team' then usage.team_id = days.usage_scope_id
            when 'project' then usage.project_id = days.usage_scope_id
            when 'organization' then usage.organization_id = days.usage_scope_id
            when 'cost_center' then usage.cost_center = days.usage_scope_id
            when 'account' then usage.account_id = days.usage_scope_id
            else usage.account_id = days.account_id
        end
    group by days.recharge_id
),

final as (
    select
        requests.recharge_id,
        requests.wallet_id,
        coalesce(wallets.account_id, 'unassigned') as account_id,
        requests.requested_at,
        requests.amount,
        requests.currency,
        requests.trigger,
        requests.threshold_amount,
        requests.soft_limit,
        requests.hard_cap,
        requests.remaining_balance,
        requests.quota_window,
        requests.budget_owner,
        requests.team_id,
        requests.project_id,
        requests.cost_center,
        requests.usage_from_at,
        requests.usage_to_at,
        requests.usage_scope_type,
        requests.usage_scope_id,
        requests.price_snapshot_id,
        requests.invoice_period,
        requests.status,
        requests.approval_ticket,
        requests.reviewer,
        requests.reviewed_at,
        requests.note,
        requests.ledger_entry_id,
        coalesce(requests.payment_id, requests.payment_reference) as payment_reference,
        requests.payment_currency,
        requests.gross,
        requests.tax,
        requests.fee,
        requests.credited,
        requests.package_id,
        cast(requests.package_price as decimal(38, 18)) as package_price,
        requests.package_currency,
        cast(used.usage_cost as decimal(38, 18)) as usage_cost,
        try_cast(case
            when used.cost_before > 0
                then
                    100 * (cast(used.usage_cost as double) - cast(used.cost_before as double))
                    / cast(used.cost_before as double)
        end as decimal(18, 2)) as usage_change_percent,
        requests.match_status
    from requests
    left join wallets on requests.wallet_id = wallets.wallet_id
    left join used on requests.recharge_id = used.recharge_id
)

select * from final
