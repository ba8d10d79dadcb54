-- Grain: one row per wallet.

with wallets as (
    select * from {{ ref('int_wallets__described') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),

summed as (
    select
        wallet_id,
        cast(sum(amount) as decimal(38, 18)) as balance_amount,
        max(occurred_at) as last_entry_at,
        max(case when entry_type = 'purchase' then occurred_at end) as last_topup_at,
        arg_max(
            case when entry_type = 'purchase' then amount end,
            case when entry_type = 'purchase' then (occurred_at, entry_id) end
        ) as last_topup_amount,
        max(case when entry_type = 'usage_debit' then occurred_at end) as last_debit_at
    from ledger
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
        and ledger.occurred_at > summed.last_debit_at - interval 7 day
    group by ledger.wallet_id
),

measured as (
    select
        wallets.wallet_id,
        wallets.account_id,
        coalesce(summed.balance_amount, 0) as balance_amount,
        wallets.currency,
        wallets.low_balance_threshold,
        summed.last_topup_at,
        summed.last_topup_amount,
        summed.last_entry_at,
        {{ from_millionths(in_millionths('burned.week_amount') ~ ' // 7') }} as daily_burn_amount
    from wallets
    left join summed on wallets.wallet_id = summed.wallet_id
    left join burned on wallets.wallet_id = burned.wallet_id
),

final as (
    select
        wallet_id,
        account_id,
        cast(balance_amount as decimal(38, 18)) as balance_amount,
        currency,
        case
            when balance_amount < 0 then 'negative'
            when balance_amount < low_balance_threshold then 'low'
            else 'ok'
        end as status,
        cast(low_balance_threshold as decimal(38, 18)) as low_balance_threshold,
        last_topup_at,
        cast(last_topup_amount as decimal(38, 18)) as last_topup_amount,
        daily_burn_amount,
        -- Days left from the clock on: what was spent since the last entry is not booked yet.
        try_cast(case
            when daily_burn_amount > 0
                then greatest(
                    0,
                    cast(balance_amount as double) / cast(daily_burn_amount as double)
                    - greatest(0, date_diff('hour', last_entry_at, {{ as_of() }})) / 24
                )
        end as decimal(18, 2)) as runway_days,
        {{ as_of() }} as as_of_at
    from measured
)

select * from final
