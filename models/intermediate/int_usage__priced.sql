-- Grain: one row per usage record, with the prices that held when it started and its list cost.
-- Unknown stays null: a record of which one consumed unit has no price has no list cost.

with usage as (
    select * from {{ ref('int_usage__classified') }}
),

occurrences as (
    select * from {{ ref('int_usage__occurrences') }}
),

prices as (
    select * from {{ ref('int_prices__of_usage_days') }}
),

joined as (
    select
        usage.*,
        usage.part_number + coalesce(occurrences.occurrences_before, 0) as occurrence,
        occurrences.duplicate_of_occurrence + usage.part_number - 1 as duplicate_of_occurrence,
        prices.price_set_id,
        prices.price_snapshot_id,
        coalesce(prices.is_backcast, false) as is_backcast,
        case
            when usage.stated is null then null
            {% for unit in usage_units() if not (unit.is_optional is defined) -%}
            when usage.{{ unit.name }} > 0 and {{ is_unpriced(unit) }} then '{{ unit.name }}'
            {% endfor -%}
        end as unpriced_unit,
        {% for unit in usage_units() -%}
        {{ list_cost_of(unit) }}
        {{ "+ " if not loop.last }}
        {%- endfor %} as list_cost_of_priced_units
    from usage
    -- Left joins: a record without repeats or without a price stays a record.
    left join occurrences
        on
            usage.gateway = occurrences.gateway
            and usage.request_id = occurrences.request_id
            and usage.started_at = occurrences.started_at
            and usage.api_key_id is not distinct from occurrences.api_key_id
    left join prices
        on
            cast(usage.started_at as date) = prices.usage_date
            and {{ same_price_context("usage", "prices") | indent(12) }}
            and usage.started_at >= prices.valid_from_at
            and usage.started_at < prices.valid_to_at
),

judged as (
    select
        *,
        case
            when cache_hit then 'cache_hit'
            when is_bookkeeping then 'free'
            when status = 'failure' and not has_output then 'failed'
            when stated is null then 'quantity_unknown'
            when unpriced_unit is not null then 'unpriced'
            when list_cost_of_priced_units = 0 then 'free'
            else 'priced'
        end as cost_status
    from joined
),

costed as (
    select
        * exclude (list_cost_of_priced_units),
        cast(
            case
                when cost_status in ('cache_hit', 'failed') or is_bookkeeping then 0
                when cost_status in ('priced', 'free') then list_cost_of_priced_units
            end as decimal(38, 18)
        ) as list_cost
    from judged
)

select * from costed
