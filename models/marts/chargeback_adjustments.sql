{{ config(meta={'rows_need': ['stg_closes__rows']}) }}
-- Grain: one row per account, month that bears it, closed day it corrects, kind of cost, what
-- chargeback is by and currency.
-- What is known now of closed days, less what was frozen of them, less what later months that are
-- closed themselves have borne already: the rest falls to the account's open month.

with facts as (
    select * from {{ ref('int_chargeback__facts') }}
),

frozen as (
    select * from {{ ref('stg_closes__rows') }}
),

closed as (
    select * from {{ ref('int_periods__closed') }}
),

borne as (
    select
        account_id,
        billing_month,
        billing_date,
        cost_kind,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        amount,
        cast(requests as bigint) as requests,
        cast(unpriced_requests as bigint) as unpriced_requests,
        unpriced_gateway_cost
    from frozen
    where row_type = 'adjustment'
),

movements as (
    select
        facts.account_id,
        facts.billing_date,
        facts.cost_kind,
        {% for name in chargeback_dimensions() -%}
        facts.{{ name }},
        {% endfor -%}
        facts.currency,
        facts.amount,
        facts.requests,
        facts.unpriced_requests,
        facts.unpriced_gateway_cost
    from facts
    inner join closed
        on facts.account_id = closed.account_id and facts.billing_month <= closed.closed_through
    union all
    select
        account_id,
        billing_date,
        cost_kind,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        -amount as amount,
        -cast(requests as bigint) as requests,
        -cast(unpriced_requests as bigint) as unpriced_requests,
        -unpriced_gateway_cost as unpriced_gateway_cost
    from frozen
    where row_type in ('fact', 'adjustment')
),

changes as (
    select
        account_id,
        billing_date,
        cost_kind,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        coalesce(sum(amount), 0) as amount,
        sum(requests) as requests,
        sum(unpriced_requests) as unpriced_requests,
        coalesce(sum(unpriced_gateway_cost), 0) as unpriced_gateway_cost
    from movements
    group by all
    having coalesce(sum(amount), 0) <> 0 or sum(requests) <> 0 or sum(unpriced_requests) <> 0
),

adjustments as (
    select
        changes.account_id,
        closed.open_month as billing_month,
        changes.billing_date,
        changes.cost_kind,
        {% for name in chargeback_dimensions() -%}
        changes.{{ name }},
        {% endfor -%}
        changes.currency,
        changes.amount,
        changes.requests,
        changes.unpriced_requests,
        changes.unpriced_gateway_cost
    from changes
    inner join closed on changes.account_id = closed.account_id
    union all by name
    select * from borne
),

final as (
    select
        account_id,
        billing_month,
        strftime(billing_date, '%Y-%m') as adjusted_month,
        billing_date as adjusted_date,
        cost_kind,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        cast(amount as decimal(38, 18)) as amount,
        cast(requests as bigint) as requests,
        cast(unpriced_requests as bigint) as unpriced_requests,
        cast(unpriced_gateway_cost as decimal(38, 18)) as unpriced_gateway_cost,
        'select * from marts.usage_records where duplicate_of is null and account_id = '
        || {{ as_literal('account_id') }} || ' and billing_date = '
        || {{ as_literal('cast(billing_date as varchar)') }} as evidence
    from adjustments
)

select * from final
