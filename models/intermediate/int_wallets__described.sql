{{ config(
    materialized='table',
    meta={'rows_need': [
        'wallets', 'accounts.wallet_id', 'int_payments__razorpay',
        'int_payments__stripe', 'stg_wallet__adjustments', 'stg_wallet__transactions',
    ]}
) }}
-- Grain: one row per wallet of wallets.csv, and per wallet that only files name.
-- A wallet nobody described keeps its money visible, in the currency of most of its movements.

with wallets as (
    select * from {{ ref('wallets') }}
),

owners as (
    select
        wallet_id,
        -- Several accounts may share a wallet; what concerns all of them is listed under one.
        min(account_id) as account_id,
        arg_min(time_zone, account_id) as time_zone
    from {{ ref('accounts') }}
    where wallet_id is not null
    group by wallet_id
),

transactions as (
    select * from {{ ref('stg_wallet__transactions') }}
),

movements as (
    select
        wallet_id,
        coalesce(credits_currency, currency) as currency
    from {{ ref('int_payments__stripe') }}
    union all
    select
        wallet_id,
        coalesce(credits_currency, currency) as currency
    from {{ ref('int_payments__razorpay') }}
    union all
    select
        wallet_id,
        currency
    from transactions
    union all
    select
        wallet_id,
        currency
    from {{ ref('stg_wallet__adjustments') }}
    union all
    -- A wallet that only an account names is debited for its usage all the same.
    select
        wallet_id,
        currency
    from {{ ref('accounts') }}
),

counted as (
    select
        wallet_id,
        currency,
        count(*) as movements
    from movements
    where wallet_id is not null and wallet_id not in (select wallets.wallet_id from wallets)
    group by wallet_id, currency
),

-- What the gateway's own history of a wallet has is taken from there, not reckoned.
recorded as (
    select
        wallet_id,
        bool_or(entry_type = 'purchase') as has_recorded_purchases,
        bool_or(entry_type = 'usage_debit') as has_recorded_debits,
        bool_or(entry_type = 'expiry') as has_recorded_expiries
    from transactions
    group by wallet_id
),

named as (
    select
        wallet_id,
        arg_max(currency, (movements, currency)) as currency
    from counted
    group by wallet_id
),

known as (
    select
        wallet_id,
        currency,
        coalesce(credit_value, 1) as credit_value,
        opening_balance,
        opening_at,
        low_balance_threshold,
        expiry_days,
        debit_rounding,
        {{ debit_minutes('debit_interval_minutes') }} as debit_minutes,
        payment_customer_id,
        true as is_configured
    from wallets
    union all
    select
        wallet_id,
        currency,
        cast(1 as decimal(38, 18)) as credit_value,
        cast(null as decimal(38, 18)) as opening_balance,
        cast(null as timestamp) as opening_at,
        cast(null as decimal(38, 18)) as low_balance_threshold,
        cast(null as bigint) as expiry_days,
        'none' as debit_rounding,
        {{ debit_minutes('60') }} as debit_minutes,
        cast(null as varchar) as payment_customer_id,
        -- Without any wallets.csv a wallet is what the files say; with one, it is missing there.
        (select count(*) from wallets) = 0 as is_configured
    from named
),

final as (
    select
        known.*,
        coalesce(owners.account_id, 'unassigned') as account_id,
        coalesce(owners.time_zone, 'UTC') as time_zone,
        coalesce(recorded.has_recorded_purchases, false) as has_recorded_purchases,
        coalesce(recorded.has_recorded_debits, false) as has_recorded_debits,
        coalesce(recorded.has_recorded_expiries, false) as has_recorded_expiries
    from known
    left join owners on known.wallet_id = owners.wallet_id
    left join recorded on known.wallet_id = recorded.wallet_id
)

select * from final
