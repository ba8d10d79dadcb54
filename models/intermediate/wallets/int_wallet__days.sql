{{ config(
    materialized='incremental',
    incremental_strategy='redrawn_ledger',
    redrawn_by='entry_date',
    on_schema_change='fail',
    meta={'rows_need': ['wallet_ledger']}
) }}
-- Grain: one row per wallet, UTC day and month of its entries in the ledger, with a digest of them.
-- What an hour adds is drawn on top of these: the ledger takes its balance before from here, months
-- their sums and digests.
-- depends_on: {{ ref('int_wallet__changes') }}

with ledger as (
    select * from {{ ref('wallet_ledger') }}
    where {{ in_redrawn_ledger('occurred_at') }}
),

hashed as (
    select
        wallet_id,
        account_id,
        billing_month,
        occurred_at,
        currency,
        amount,
        origin,
        entry_type = 'usage_debit' or origin = 'usage_correction' as is_usage,
        sha256(concat_ws(
            '|',
            entry_id,
            entry_type,
            cast(occurred_at as varchar),
            coalesce(cast(amount as varchar), 'unknown'),
            currency,
            coalesce(reverses_entry_id, '')
        )) as entry_sha256
    from ledger
),

final as (
    select
        wallet_id,
        cast(occurred_at as date) as entry_date,
        billing_month,
        any_value(account_id) as account_id,
        any_value(currency) as currency,
        count(*) as entries,
        count(case when origin <> 'opening' then 1 end) as movements,
        cast(coalesce(sum(amount), 0) as decimal(38, 18)) as change_amount,
        cast(coalesce(-sum(case when is_usage then amount end), 0) as decimal(38, 18))
            as debited_amount,
        sha256(string_agg(entry_sha256, '' order by entry_sha256)) as entries_sha256
    from hashed
    group by wallet_id, entry_date, billing_month
)

select * from final
