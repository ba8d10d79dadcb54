{{ config(
    materialized='incremental',
    incremental_strategy='redrawn_ledger',
    redrawn_by='occurred_at',
    on_schema_change='fail',
    meta={'rows_need': ['int_wallets__described', 'stg_closes__rows']}
) }}
-- Grain: one row per entry of a wallet; entries are never changed, a correction is a further one.
-- The balance follows from the times of the entries and their ids, never from when they arrived. It
-- is drawn anew from the first day on at which something may have changed (int_wallet__changes), on
-- top of what the days before come to (int_wallet__days, as it was left). Closed months keep the
-- entries that their close froze; what is known of them otherwise now is booked in the open month
-- (macro posted_entries).
-- depends_on: {{ ref('int_wallet__changes') }}, {{ ref('int_wallet__expiries') }}
-- depends_on: {{ ref('int_wallets__described') }}

{%- set with_corrections = draws_corrections() %}
{%- set with_expiries = has_expiring_wallets() %}

with closed_wallets as (
    select * from {{ ref('int_wallets__closed') }}
),

frozen as (
    select * from {{ ref('int_wallet__frozen') }}
),

known_now as (
    select * from {{ ref('int_wallet__entries') }}
    {%- if not with_corrections %}
    where
        {{ in_redrawn_ledger('occurred_at') }}
        -- A day's last debit stands at the midnight that ends it.
        and (usage_date is null or {{ in_redrawn_days('usage_date') }})
    {%- endif %}
    {%- if with_expiries %}
    union all by name
    select * from {{ ref('int_wallet__expiries') }}
    {%- if not with_corrections %}
    where {{ in_redrawn_ledger('occurred_at') }}
    {%- endif %}
    {%- endif %}
),

{{ posted_entries(with_corrections) }},

entries as (
    select * from posted
    where {{ in_redrawn_ledger('occurred_at') }}
),

{% if ledger_from_at() -%}
before as (
    select
        wallet_id,
        sum(change_amount) as balance_amount
    from {{ this.incorporate(path={'schema': 'intermediate', 'identifier': 'int_wallet__days'}) }}
    where not {{ in_redrawn_ledger('entry_date') }}
    group by wallet_id
),
{%- else -%}
before as (
    select
        cast(null as varchar) as wallet_id,
        cast(0 as decimal(38, 18)) as balance_amount
    where false
),
{%- endif %}

drawn as (
    select
        entries.*,
        coalesce(before.balance_amount, 0) + coalesce(sum(entries.amount) over (
            partition by entries.wallet_id
            order by
                entries.occurred_at asc, entries.origin = 'opening' desc, entries.entry_id asc
            rows unbounded preceding
        ), 0) as balance_after
    from entries
    left join before on entries.wallet_id = before.wallet_id
),

final as (
    select
        {{ ledger_columns() }},
        cast(balance_after as decimal(38, 18)) as balance_after
    from drawn
)

select * from final
