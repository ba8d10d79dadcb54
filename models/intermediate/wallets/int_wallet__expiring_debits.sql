{{ config(
    materialized='incremental',
    incremental_strategy='debit_days',
    on_schema_change='fail',
    meta={'rows_need': ['int_wallets__described']}
) }}
-- Grain: one row per wallet whose credits expire and debit window with a known debit. Kept, so that
-- what expires is found without reckoning what other wallets, or other days, were debited.

with wallets as (
    select * from {{ ref('int_wallets__described') }}
    where expiry_days is not null
),

debits as (
    select * from {{ ref('int_wallet__debits') }}
    where {{ in_debit_days('usage_date') if has_expiring_wallets() else 'false' }}
),

final as (
    select
        debits.usage_date,
        debits.wallet_id,
        debits.window_to_at,
        cast(debits.debit_amount as decimal(38, 18)) as debit_amount
    from debits
    inner join wallets on debits.wallet_id = wallets.wallet_id
    -- As in int_wallet__entries: beyond this a balance could overflow.
    where debits.debit_amount <> 0 and abs(debits.debit_amount) < 10000000000000000
)

select * from final
