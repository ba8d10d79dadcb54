{{ config(materialized='view') }}
-- Grain: one row per usage record and unit with a quantity, and one (unit other) for what a record
-- costs beside its units; sums equal the record.
-- A unit that is another measure of something already charged has no unit price and costs 0.
-- List costs in another currency are rounded once a line; what the lines lack to the record stands
-- on the first that costs something. Fees, recorded charges and what rounding leaves of contract
-- prices and markup stand on the line `other`.

with usage as (
    select * from {{ ref('usage_records') }}
),

prices as (
    select * from {{ ref('price_sets') }}
),

contracts as (
    select * from {{ ref('contract_price_sets') }}
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
        cast(
            case
                when usage.contract_price_set_id is null or usage.provider_cost is null then null
                when usage.cost_status not in ('priced', 'free') then 0
                else {{ contract_line_cost(unit) }}
            end as decimal(38, 18)
        ) as contract_cost,
        case
            when contracts.is_{{ unit.name }}_contracted then usage.contract_fx_rate
            else usage.fx_rate
        end as line_fx_rate,
        usage.contract_price_set_id,
        usage.fx_rate,
        usage.markup_rate,
        {{ is_billed_by_unit() }} as is_billed_by_unit,
        usage.billed_cost is null as is_billed_cost_unknown,
        usage.currency,
        usage.duplicate_of
    from usage
    left join prices on usage.price_set_id = prices.price_set_id
    left join contracts on usage.contract_price_set_id = contracts.contract_price_set_id
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
    where
        usage.fx_rate <> 1
        and usage.cost_status in ('priced', 'free')
        and usage.list_cost is not null
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

listed as (
    select
        lines.*,
        cast(
            {{ converted("lines.listed_cost", "lines.fx_rate") | indent(12) }}
            + coalesce(remainders.missing_cost, 0) as decimal(38, 18)
        ) as list_cost
    from lines
    left join remainders
        on lines.usage_record_id = remainders.usage_record_id and lines.unit = remainders.unit
),

provided as (
    select
        *,
        cast(
            case
                when contract_price_set_id is null then list_cost
                else {{ converted("contract_cost", "line_fx_rate") | indent(16) }}
            end as decimal(38, 18)
        ) as provider_cost
    from listed
),

unit_lines as (
    select
        usage_record_id,
        gateway,
        request_id,
        occurrence,
        usage_date,
        unit,
        quantity,
        {{ converted("listed_price", "fx_rate") | indent(8) }} as unit_price,
        price_id,
        list_cost,
        provider_cost,
        cast(
            case
                when is_billed_cost_unknown then null
                when is_billed_by_unit
                    then {{ converted("provider_cost", "(1 + markup_rate)") | indent(20) }}
                else 0
            end as decimal(38, 18)
        ) as billed_cost,
        currency,
        duplicate_of
    from provided
),

-- Records whose units alone may not make up what they cost.
flat_records as (
    select usage.*
    from usage
    where
        usage.provider_cost is distinct from usage.list_cost
        or usage.billed_cost is distinct from usage.provider_cost
        or not {{ is_billed_by_unit() }}
),

sums as (
    select
        unit_lines.usage_record_id,
        sum(unit_lines.provider_cost) as provider_cost,
        sum(unit_lines.billed_cost) as billed_cost
    from unit_lines
    inner join flat_records on unit_lines.usage_record_id = flat_records.usage_record_id
    group by unit_lines.usage_record_id
),

flat_lines as (
    select
        flat_records.usage_record_id,
        flat_records.gateway,
        flat_records.request_id,
        flat_records.occurrence,
        flat_records.usage_date,
        'other' as unit,
        cast(null as decimal(20, 6)) as quantity,
        cast(null as decimal(38, 18)) as unit_price,
        cast(null as varchar) as price_id,
        cast(null as decimal(38, 18)) as list_cost,
        cast(
            flat_records.provider_cost - coalesce(sums.provider_cost, 0) as decimal(38, 18)
        ) as provider_cost,
        cast(
            flat_records.billed_cost - coalesce(sums.billed_cost, 0) as decimal(38, 18)
        ) as billed_cost,
        flat_records.currency,
        flat_records.duplicate_of
    from flat_records
    left join sums on flat_records.usage_record_id = sums.usage_record_id
),

final as (
    select * from unit_lines
    union all
    select * from flat_lines
    where coalesce(provider_cost, 0) <> 0 or coalesce(billed_cost, 0) <> 0
)

select * from final
