{{ config(materialized='table') }}
-- Grain: one row. From when on the ledger of wallets is drawn anew: the first moment whose entries
-- may differ from those it has, at the start of its day. What came before keeps its entries and its
-- balance, so that one more hour costs what is new in it. What a build that did not end began is
-- drawn again.

{%- set ledger = drawn_ledger() %}
{%- set has_news = has_wallet_news() %}
{%- set begun = begun_ledger() %}
{%- set is_whole = ledger is none or begun.is_whole %}
{%- set days = touched_days() or [] %}
{#- Without news in files of wallets only what usage makes expire may differ besides debits. #}
{%- set is_compared = has_news or has_expiring_wallets() %}

with known_now as (
    select * from {{ ref('int_wallet__entries') }}
    where {{ "entry_type <> 'usage_debit'" if has_news else "false" }}
    union all by name
    select * from {{ ref('int_wallet__expiries') }}
),

frozen as (
    select * from {{ ref('int_wallet__frozen') }}
    where
        {{
            "entry_type <> 'usage_debit' and origin <> 'usage_correction'" if has_news
            else "starts_with(root_entry_id, 'expiry/')"
        }}
),

closed_wallets as (
    select * from {{ ref('int_wallets__closed') }}
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

transactions as (
    select * from {{ ref('stg_wallet__transactions') }}
),

{% if is_whole -%}
final as (
    select
        true as is_whole,
        cast(null as timestamp) as from_at
)
{%- else -%}
{%- if is_compared %}

{{ posted_entries() }},

drawn as (
    select
        {{ ledger_columns() }}
    from {{ ledger }}
    where
        {{
            "entry_type <> 'usage_debit' and origin <> 'usage_correction'" if has_news
            else "entry_type = 'expiry' or (origin = 'correction' and "
            ~ "starts_with(reverses_entry_id, 'expiry/'))"
        }}
),

wanted as (
    select
        {{ ledger_columns() }}
    from posted
),

gone as (
    select * from drawn
    except
    select * from wanted
),

come as (
    select * from wanted
    except
    select * from drawn
),

{% endif -%}
moments as (
    {%- if is_compared %}
    select min(occurred_at) as from_at from gone
    union all
    select min(occurred_at) as from_at from come
    union all
    {%- endif %}
    select {{ "timestamp '" ~ begun.from_at ~ "'" if begun.from_at else "cast(null as timestamp)" }}
        as from_at
    {%- if days %}
    union all
    -- The debits of a day end after it began.
    select timestamp '{{ days | min }}' as from_at
    {%- endif %}
    {%- if has_news %}
    union all
    -- A transaction may have stood at another time before.
    select min(earliest_occurred_at) as from_at
    from transactions
    where {{ in_touched_days('occurred_at', ['wallet__transactions']) }}
    union all
    -- Debits reckoned until the gateway's own came, and wallets whose currency files say otherwise;
    -- of closed months they stand, and corrections of them begin where those do.
    select min(case
        when ledger.billing_month <= closed_wallets.closed_through then closed_wallets.posted_at
        else ledger.occurred_at
    end) as from_at
    from {{ ledger }} as ledger
    inner join wallets on ledger.wallet_id = wallets.wallet_id
    left join closed_wallets on ledger.wallet_id = closed_wallets.wallet_id
    left join {{ ledger }} as correction
        on ledger.entry_id = correction.reverses_entry_id and correction.origin = 'usage_correction'
    where
        (
            ledger.currency <> wallets.currency
            and (
                closed_wallets.wallet_id is null
                or ledger.billing_month > closed_wallets.closed_through
            )
        )
        or (
            ledger.origin = 'usage'
            and wallets.has_recorded_debits
            and correction.entry_id is null
        )
    {%- endif %}
),

final as (
    select
        false as is_whole,
        date_trunc('day', min(from_at)) as from_at
    from moments
)
{%- endif %}

select * from final
