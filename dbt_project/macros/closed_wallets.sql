{#- What a ledger shows of entries as they are known now (the CTE `known_now`), beside those that
    closes froze (the CTE `frozen`) and the CTE `closed_wallets`, as CTEs that end with `posted`.
    A closed month keeps its entries. What is known of it now and was not is booked in the open
    month; where an entry is another now, the difference is, and names what it corrects.
    with_corrections: whether what the open month bears is drawn at all. -#}
{% macro posted_entries(with_corrections=true) -%}
open_entries as (
    select
        known_now.*,
        known_now.occurred_at as happened_at
    from known_now
    left join closed_wallets on known_now.wallet_id = closed_wallets.wallet_id
    -- An entry that moved out of its closed month is a correction of it, not one of another month.
    left join frozen on known_now.entry_id = frozen.entry_id and frozen.origin <> 'usage'
    where
        known_now.origin = 'opening'
        or closed_wallets.wallet_id is null
        or (known_now.billing_month > closed_wallets.closed_through and frozen.entry_id is null)
),

{% if with_corrections -%}
roots as (
    select
        root_entry_id,
        any_value(wallet_id) as wallet_id,
        {% for name in ["account_id", "billing_month", "entry_type", "currency", "payment_currency", "reference", "payment_reference", "has_payment", "request_id", "gateway", "window_from_at", "window_to_at", "happened_at", "is_wallet_known", "fx_rate"] -%}
        arg_min({{ name }}, entry_id <> root_entry_id) as {{ name }},
        {% endfor -%}
        {% for name in corrected_amounts() -%}
        sum({{ name }}) as {{ name }}{{ "," if not loop.last }}
        {% endfor -%}
    from frozen
    group by root_entry_id
),

closed_entries as (
    select
        known_now.*,
        closed_wallets.open_month,
        closed_wallets.posted_at,
        roots.root_entry_id
    from known_now
    inner join closed_wallets on known_now.wallet_id = closed_wallets.wallet_id
    left join roots on known_now.entry_id = roots.root_entry_id
    where
        known_now.origin <> 'opening'
        and (
            known_now.billing_month <= closed_wallets.closed_through
            or roots.root_entry_id is not null
        )
),

late_entries as (
    select
        * replace (
            open_month as billing_month,
            posted_at as occurred_at,
            cast(null as decimal(38, 18)) as reported_balance_after,
            concat_ws(', ', description, 'late for ' || billing_month) as description
        ),
        occurred_at as happened_at
    from closed_entries
    where root_entry_id is null
),

differences as (
    select
        roots.* exclude ({{ corrected_amounts() | join(", ") }}),
        closed_wallets.open_month,
        closed_wallets.posted_at,
        {% for name in corrected_amounts() -%}
        -- What is unknown now says nothing against what was known.
        coalesce(case
            when closed_entries.entry_id is null then 0
            else coalesce(closed_entries.{{ name }}, roots.{{ name }})
        end, 0) - coalesce(roots.{{ name }}, 0) as {{ name }}{{ "," if not loop.last }}
        {% endfor -%}
    from roots
    inner join closed_wallets on roots.wallet_id = closed_wallets.wallet_id
    left join closed_entries on roots.root_entry_id = closed_entries.root_entry_id
),

corrections as (
    select
        'correction/' || open_month || '/' || root_entry_id as entry_id,
        case when entry_type = 'usage_debit' then 'usage_correction' else 'correction' end
            as origin,
        wallet_id,
        account_id,
        open_month as billing_month,
        'adjustment' as entry_type,
        posted_at as occurred_at,
        happened_at,
        {% for name in corrected_amounts() -%}
        {{ name }},
        {% endfor -%}
        currency,
        payment_currency,
        fx_rate,
        reference,
        payment_reference,
        has_payment,
        root_entry_id as reverses_entry_id,
        'Correction of ' || billing_month || ', which is closed' as description,
        request_id,
        gateway,
        window_from_at,
        window_to_at,
        is_wallet_known
    from differences
    where amount <> 0 or gross <> 0 or tax <> 0 or fee <> 0
),
{%- endif %}

posted as (
    select * from open_entries
    union all by name
    select * exclude (root_entry_id) from frozen
    {%- if with_corrections %}
    union all by name
    select * exclude (root_entry_id, open_month, posted_at) from late_entries
    union all by name
    select * from corrections
    {%- endif %}
)
{%- endmacro %}

{#- The amounts of an entry that a correction is the difference of. -#}
{% macro corrected_amounts() -%}
    {{ return(["amount", "gross", "tax", "fee", "net", "credited"]) }}
{%- endmacro %}

{#- Whether what is drawn anew reaches back to where the open months begin, and with them the
    corrections of those that are closed. -#}
{% macro draws_corrections() -%}
    {%- set from_at = ledger_from_at() -%}
    {%- if from_at is none -%}
        {{ return(true) }}
    {%- elif not from_at -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(run_query(
        "select coalesce(max(posted_at) >= timestamp '" ~ from_at ~ "', false) from " ~ ref("int_wallets__closed")
    ).rows[0][0]) }}
{%- endmacro %}
