{{ config(materialized='table', meta={'rows_need': ['int_wallets__described']}) }}
-- Grain: one row per wallet with a closed month: the last one, the open month that bears what comes
-- late, and the moment at which it is booked there, right after everything that is closed.
-- The closes are those of the account that pays from the wallet (int_wallets__described).

with rows_of_closes as (
    select * from {{ ref('stg_closes__rows') }}
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

closes as (
    select
        account_id,
        max(billing_month) as closed_month
    from rows_of_closes
    -- One that froze no ledger closed none.
    where row_type = 'period' and ledger_entries is not null
    group by account_id
),

frozen as (
    select
        wallet_id,
        max(billing_month) as closed_month,
        max(occurred_at) as last_entry_at
    from rows_of_closes
    where row_type = 'entry'
    group by wallet_id
),

closed as (
    select
        wallets.wallet_id,
        wallets.time_zone,
        frozen.last_entry_at,
        greatest(closes.closed_month, frozen.closed_month, accounts.closed_through)
            as closed_through
    from wallets
    left join accounts on wallets.account_id = accounts.account_id
    left join closes on wallets.account_id = closes.account_id
    left join frozen on wallets.wallet_id = frozen.wallet_id
),

final as (
    select
        wallet_id,
        closed_through,
        strftime(cast(closed_through || '-01' as date) + interval 1 month, '%Y-%m') as open_month,
        greatest({{ month_end_at('closed_through', 'time_zone') }}, last_entry_at)
        + interval 1 microsecond as posted_at
    from closed
    where closed_through is not null
)

select * from final
