-- Grain: one row per UTC day, pricing context used on it, and price set that holds on that day:
-- nearly always one, so that records find their prices by equality.

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
        price_sets.*
    from contexts
    inner join price_sets
        on
            {{ same_price_context("contexts", "price_sets") | indent(12) }}
            and contexts.usage_date + interval 1 day > price_sets.valid_from_at
            and contexts.usage_date < price_sets.valid_to_at
)

select * from dense
