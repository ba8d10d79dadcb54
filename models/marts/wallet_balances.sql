{{ config(meta={'rows_need': ['int_wallets__described']}) }}
-- Grain: one row per wallet.

with wallets as (
    select * from {{ ref('int_wallets__described') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

usage as (
    select * from {{ ref('int_wallet__usage') }}
),

summed as (
    select
        wallet_id,
        cast(sum(amount) as decimal(38, 18)) as balance_amount,
        max(occurred_at) as last_entry_at,
        max(case when amount > 0 then occurred_at end) as last_credited_at,
        max(case when entry_type = 'usage_debit' then happened_at end) as last_debit_at
    from ledger
    group by wallet_id
),

topups as (
    select
        wallet_id,
        max(occurred_at) as last_topup_at,
        arg_max(amount, (occurred_at, entry_id)) as last_topup_amount
    from ledger
    where entry_type = 'purchase'
    group by wallet_id
),

-- The week up to the last debit, so that the figure follows from the ledger alone.
burned as (
    select
        ledger.wallet_id,
        cast(-sum(ledger.amount) as decimal(38, 18)) as week_amount
    from ledger
    inner join summed on ledger.wallet_id = summed.wallet_id
    where
        ledger.entry_type = 'usage_debit'
        and ledger.happened_at > summed.last_debit_at - interval 7 day
    group by ledger.wallet_id
),

-- What gateways answered the accounts that a wallet serves.
served as (
    select
        accounts.wallet_id,
        cast(sum(usage.refused_requests) as bigint) as refused_requests,
        max(usage.last_refused_at) as last_refused_at,
        max(usage.last_served_at) as last_served_at
    from usage
    inner join accounts on usage.account_id = accounts.account_id
    group by accounts.wallet_id
),

measured as (
    select
        wallets.wallet_id,
        wallets.account_id,
        coalesce(summed.balance_amount, 0) as balance_amount,
        wallets.currency,
        wallets.low_balance_threshold,
        topups.last_topup_at,
        topups.last_topup_amount,
        summed.last_entry_at,
        {{ from_millionths(in_millionths('burned.week_amount') ~ ' // 7') }} as daily_burn_amount,
        coalesce(served.refused_requests, 0) as refused_requests,
        served.last_refused_at,
        -- Refused for want of money (402), and neither topped up nor served since.
        coalesce(
            served.last_refused_at > coalesce(summed.last_credited_at, timestamp '0001-01-01')
            and served.last_refused_at > coalesce(served.last_served_at, timestamp '0001-01-01'),
            false
        ) as is_refused
    from wallets
    left join summed on wallets.wallet_id = summed.wallet_id
    left join topups on wallets.wallet_id = topups.wallet_id
    left join burned on wallets.wallet_id = burned.wallet_id
    left join served on wallets.wallet_id = served.wallet_id
),

final as (
    select
        wallet_id,
        account_id,
        cast(balance_amount as decimal(38, 18)) as balance_amount,
        currency,
        case
            when balance_amount < 0 then 'negative'
            when balance_amount = 0 or is_refused then 'empty'
            when balance_amount < low_balance_threshold then 'low'
            else 'ok'
        end as status,
        cast(low_balance_threshold as decimal(38, 18)) as low_balance_threshold,
        last_topup_at,
        cast(last_topup_amount as decimal(38, 18)) as last_topup_amount,
        daily_burn_amount,
        -- Days left from today on: what was spent since the last entry is not booked yet. In whole
        -- days, so that the figure changes at midnight and not with every run.
        try_cast(case
            when daily_burn_amount > 0
                then greatest(
                    0,
                    cast(balance_amount as double) / cast(daily_burn_amount as double)
                    - greatest(0, date_diff('day', last_entry_at, {{ as_of() }}))
                )
        end as decimal(18, 2)) as runway_days,
        refused_requests,
        last_refused_at,
        {{ as_of() }} as as_of_at
    from measured
)

select * from final
