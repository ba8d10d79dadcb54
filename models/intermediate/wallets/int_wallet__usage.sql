{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, account, debit window, billing month and currency, usage before and
-- after the wallet's opening apart. Windows count from UTC midnight, so that a day's usage makes
-- the same windows whatever else is known; an account without a wallet has hourly ones.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

wallets as (
    select * from {{ ref('wallets') }}
),

terms as (
    select
        accounts.account_id,
        wallets.opening_at,
        wallets.debit_interval_minutes
    from accounts
    inner join wallets on accounts.wallet_id = wallets.wallet_id
),

timed as (
    select
        usage.*,
        {{ debit_minutes('terms.debit_interval_minutes') }} as window_minutes,
        coalesce(usage.started_at < terms.opening_at, false) as is_before_opening
    from usage
    left join terms on usage.account_id = terms.account_id
),

final as (
    select
        usage_date,
        account_id,
        {{ debit_window_at('started_at', 'window_minutes') }} as window_at,
        window_minutes,
        billing_month,
        currency,
        is_before_opening,
        -- What is charged on somebody's own key never enters a wallet.
        sum(case when billing_mode <> 'byok' then 1 else 0 end) as records,
        sum(case when billing_mode <> 'byok' and billed_cost is null then 1 else 0 end)
            as records_without_cost,
        cast(sum(case when billing_mode <> 'byok' then billed_cost end) as decimal(38, 18))
            as debit_cost,
        cast(sum(billed_cost) as decimal(38, 18)) as billed_cost,
        max(started_at) as last_started_at,
        max(case when status = 'success' and billing_mode <> 'byok' then started_at end)
            as last_served_at,
        sum(case when http_status = 402 and billing_mode <> 'byok' then requests else 0 end)
            as refused_requests,
        max(case when http_status = 402 and billing_mode <> 'byok' then started_at end)
            as last_refused_at
    from timed
    group by
        usage_date,
        account_id,
        window_at,
        window_minutes,
        billing_month,
        currency,
        is_before_opening
)

select * from final
