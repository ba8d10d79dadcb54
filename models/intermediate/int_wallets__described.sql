{{ config(materialized='table') }}
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
    from {{ ref('stg_wallet__transactions') }}
    union all
    select
        wallet_id,
        currency
    from {{ ref('stg_wallet__adjustments') }}
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
        cast(null as varchar) as payment_customer_id,
        -- Without any wallets.csv a wallet is what the files say; with one, it is missing there.
        (select count(*) from wallets) = 0 as is_configured
    from named
),

final as (
    select
        known.*,
        coalesce(owners.account_id, 'unassigned') as account_id,
        coalesce(owners.time_zone, 'UTC') as time_zone
    from known
    left join owners on known.wallet_id = owners.wallet_id
)

select * from final
