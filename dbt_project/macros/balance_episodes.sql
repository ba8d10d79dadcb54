{#- Spans of time in which a condition on the balance held, one row per wallet and span.
    Entries of one instant are one step: the order among them is a convention, not an event. -#}
{% macro balance_episodes(condition) -%}
    with steps as (
        select
            ledger.*,
            wallets.low_balance_threshold
        from {{ ref('wallet_ledger') }} as ledger
        inner join {{ ref('int_wallets__described') }} as wallets
            on ledger.wallet_id = wallets.wallet_id
        qualify row_number() over (
            partition by ledger.wallet_id, ledger.occurred_at
            order by ledger.origin = 'opening', ledger.entry_id desc
        ) = 1
    ),

    judged as (
        select
            *,
            coalesce({{ condition }}, false) as is_met
        from steps
    ),

    numbered as (
        select
            *,
            row_number() over (partition by wallet_id order by occurred_at)
            - row_number() over (partition by wallet_id, is_met order by occurred_at) as span,
            row_number() over (partition by wallet_id order by occurred_at desc) = 1 as is_newest
        from judged
    )

    select
        wallet_id,
        any_value(account_id) as account_id,
        any_value(currency) as currency,
        any_value(low_balance_threshold) as low_balance_threshold,
        arg_min(billing_month, occurred_at) as billing_month,
        arg_min(entry_id, occurred_at) as first_entry_id,
        min(occurred_at) as began_at,
        max(occurred_at) as ended_at,
        min(balance_after) as lowest_balance,
        arg_max(balance_after, occurred_at) as last_balance,
        bool_or(is_newest) as is_last
    from numbered
    where is_met
    group by wallet_id, span
{%- endmacro %}

{#- The query that shows the ledger during an episode. -#}
{% macro evidence_of_episode() -%}
    'select * from marts.wallet_ledger where wallet_id = ' || {{ as_literal('wallet_id') }}
        || ' and occurred_at between timestamp ''' || cast(began_at as varchar)
        || ''' and timestamp ''' || cast(ended_at as varchar) || ''''
{%- endmacro %}
