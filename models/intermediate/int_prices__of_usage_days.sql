{{ config(materialized='table') }}
-- Grain: one row per UTC day, pricing context used on it, and price set that holds on that day:
-- nearly always one, so that records find their prices by equality. A table, as the engine plans
-- the join by its size; in order of days, as records are, so that neighbors find theirs nearby.

with contexts as (
    select *
    from {{ ref('int_usage__price_contexts') }}
    where {{ in_touched_days('usage_date') }}
),

price_sets as (
    select * from {{ ref('price_sets') }}
    where {{ holds_on_touched_days('valid_from_at', 'valid_to_at') }}
),

dense as (
    select
        contexts.usage_date,
        {% for name in price_context() -%}
        contexts.{{ name }},
        {% endfor -%}
        price_sets.price_set_id,
        price_sets.valid_from_at,
        price_sets.valid_to_at,
        price_sets.price_snapshot_id,
        price_sets.is_backcast,
        {% for unit in usage_units() -%}
        price_sets.{{ unit.name }}_price,
        {% endfor -%}
        price_sets.is_output_image_token_priced
    from contexts
    inner join price_sets
        on
            {{ same_price_context("contexts", "price_sets") | indent(12) }}
            and contexts.usage_date + interval 1 day > price_sets.valid_from_at
            and contexts.usage_date < price_sets.valid_to_at
)

select * from dense
order by usage_date
