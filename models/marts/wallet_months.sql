{{ config(
    materialized='incremental',
    incremental_strategy='redrawn_ledger',
    redrawn_by='billing_month',
    on_schema_change='fail',
    meta={'rows_need': ['int_wallet__days']}
) }}
-- Grain: one row per wallet and month with entries, with a digest of the entries.
-- A day's digest is of the sorted hashes of its entries, so that their order means nothing; a
-- month's is of those of its days; the chain is of the digests of all months so far, so that
-- nothing before a closed month changes unseen.
-- depends_on: {{ ref('int_wallet__changes') }}

with days as (
    select * from {{ ref('int_wallet__days') }}
    where {{ in_redrawn_ledger('billing_month') }}
),

summed as (
    select
        wallet_id,
        billing_month,
        any_value(account_id) as account_id,
        any_value(currency) as currency,
        cast(sum(entries) as bigint) as entries,
        cast(sum(change_amount) as decimal(38, 18)) as change_amount,
        cast(sum(debited_amount) as decimal(38, 18)) as debited_amount,
        sha256(string_agg(entries_sha256, '' order by entry_date)) as entries_sha256
    from days
    group by wallet_id, billing_month
),

{% if ledger_from_at() -%}
kept as (
    select * from {{ this }}
    where not {{ in_redrawn_ledger('billing_month') }}
),

months as (
    select * from summed
    union all by name
    select
        wallet_id,
        billing_month,
        account_id,
        currency,
        entries,
        change_amount,
        debited_amount,
        entries_sha256
    from kept
),
{%- else -%}
months as (
    select * from summed
),
{%- endif %}

chained as (
    select
        *,
        sum(change_amount) over (
            partition by wallet_id
            order by billing_month
            rows unbounded preceding
        ) as closing_balance,
        sha256(string_agg(entries_sha256, '') over (
            partition by wallet_id
            order by billing_month
            rows unbounded preceding
        )) as ledger_digest
    from months
),

final as (
    select
        wallet_id,
        billing_month,
        account_id,
        currency,
        entries,
        cast(closing_balance - change_amount as decimal(38, 18)) as opening_balance,
        change_amount,
        debited_amount,
        cast(closing_balance as decimal(38, 18)) as closing_balance,
        entries_sha256,
        ledger_digest
    from chained
    where {{ in_redrawn_ledger('billing_month') }}
)

select * from final
