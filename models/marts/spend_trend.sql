-- Grain: one row per UTC day with usage, account and currency, with the spend of the days before.

with daily as (
    select
        usage_date,
        account_id,
        currency,
        sum(billed_cost) as billed_cost,
        sum(list_cost) as list_cost,
        sum(requests) as requests
    from {{ ref('daily_spend') }}
    group by usage_date, account_id, currency
),

{#- (name, days back to the first, days back to the last) -#}
{%- set spans = [
    ("billed_cost_7d", 6, 0), ("before_7d", 13, 7),
    ("billed_cost_28d", 27, 0), ("before_28d", 55, 28),
] %}

rolled as (
    select
        {% for name, first, last in spans -%}
        sum(billed_cost) over (
            partition by account_id, currency
            order by usage_date
            range between interval {{ first }} day preceding and interval {{ last }} day preceding
        ) as {{ name }},
        {% endfor -%}
        *
    from daily
),

final as (
    select
        usage_date,
        account_id,
        currency,
        cast(billed_cost as decimal(38, 18)) as billed_cost,
        cast(list_cost as decimal(38, 18)) as list_cost,
        cast(billed_cost_7d as decimal(38, 18)) as billed_cost_7d,
        cast(billed_cost_28d as decimal(38, 18)) as billed_cost_28d,
        {{ percent_of('billed_cost_7d - before_7d', 'before_7d') }} as change_7d_percent,
        {{ percent_of('billed_cost_28d - before_28d', 'before_28d') }} as change_28d_percent,
        cast(requests as bigint) as requests
    from rolled
)

select * from final
