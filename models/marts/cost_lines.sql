{{ config(materialized='view') }}
-- Grain: one row per usage record and unit with a quantity; sums equal the record.
-- A unit that is another measure of something already charged has no unit price and costs 0.
-- In another currency than that of the prices each line is rounded once; what the rounded lines
-- lack to the record stands on the first of them that costs something.

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
        case when {{ is_billed(unit) }} then prices.{{ unit.name }}_price end as listed_price,
        case when {{ is_billed(unit) }} then prices.{{ unit.name }}_price_id end as price_id,
        cast(
            case
                when usage.list_cost is null then null
                when usage.cost_status not in ('priced', 'free') then 0
                else {{ list_cost_of(unit) }}
            end as decimal(38, 18)
        ) as listed_cost,
        usage.fx_rate,
        usage.currency,
        usage.duplicate_of
    from usage
    left join prices on usage.price_set_id = prices.price_set_id
    where usage.{{ unit.name }} > 0
    {{ "union all" if not loop.last }}
    {% endfor %}
),

converted_records as (
    select
        {% for unit in usage_units() -%}
        {{ list_cost_of(unit) }} as {{ unit.name }}_cost,
        {% endfor -%}
        usage.usage_record_id,
        usage.fx_rate,
        usage.list_cost
    from usage
    inner join prices on usage.price_set_id = prices.price_set_id
    where usage.fx_rate <> 1 and usage.cost_status = 'priced'
),

remainders as (
    select
        usage_record_id,
        case
            {% for unit in usage_units() -%}
            when {{ unit.name }}_cost > 0 then '{{ unit.name }}'
            {% endfor %}
        end as unit,
        list_cost
        {%- for unit in usage_units() %}
        - {{ converted(unit.name ~ "_cost", "fx_rate") | indent(8) }}
        {%- endfor %} as missing_cost
    from converted_records
),

final as (
    select
        lines.usage_record_id,
        lines.gateway,
        lines.request_id,
        lines.occurrence,
        lines.usage_date,
        lines.unit,
        lines.quantity,
        {{ converted("lines.listed_price", "lines.fx_rate") | indent(8) }} as unit_price,
        lines.price_id,
        cast(
            {{ converted("lines.listed_cost", "lines.fx_rate") | indent(12) }}
            + coalesce(remainders.missing_cost, 0) as decimal(38, 18)
        ) as list_cost,
        list_cost as provider_cost,
        list_cost as billed_cost,
        lines.currency,
        lines.duplicate_of
    from lines
    left join remainders
        on lines.usage_record_id = remainders.usage_record_id and lines.unit = remainders.unit
)

select * from final
