{{ config(materialized='view') }}
-- Grain: one row per usage record and unit with a quantity; sums equal the record.
-- A unit that is another measure of something already charged has no unit price and costs 0.

with usage as (
    select * from {{ ref('usage_records') }}
),

prices as (
    select * from {{ ref('price_sets') }}
),

lines as (
    {% for unit in usage_units() -%}
    select
        usage.usage_record_id,
        usage.gateway,
        usage.request_id,
        usage.occurrence,
        usage.usage_date,
        '{{ unit.name }}' as unit,
        cast(usage.{{ unit.name }} as decimal(20, 6)) as quantity,
        case when {{ is_billed(unit) }} then prices.{{ unit.name }}_price end as unit_price,
        case when {{ is_billed(unit) }} then prices.{{ unit.name }}_price_id end as price_id,
        cast(
            case
                when usage.list_cost is null then null
                when usage.cost_status not in ('priced', 'free') then 0
                else {{ list_cost_of(unit) }}
            end as decimal(38, 18)
        ) as list_cost,
        usage.currency,
        usage.duplicate_of
    from usage
    left join prices on usage.price_set_id = prices.price_set_id
    where usage.{{ unit.name }} > 0
    {{ "union all" if not loop.last }}
    {% endfor %}
),

final as (
    select
        usage_record_id,
        gateway,
        request_id,
        occurrence,
        usage_date,
        unit,
        quantity,
        unit_price,
        price_id,
        list_cost,
        list_cost as provider_cost,
        list_cost as billed_cost,
        currency,
        duplicate_of
    from lines
)

select * from final
