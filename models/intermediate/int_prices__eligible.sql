{{ config(materialized='table') }}
-- Grain: one row per pricing context and price that may hold in it, with how near it is.
-- A context takes prices of its own tier, batch, region and context band, and of the base ones;
-- an ended or not yet valid price is eligible too, for its own time.

with contexts as (
    select * exclude (is_to_price)
    from {{ ref('int_prices__contexts') }}
    where is_to_price
),

matched as (
    select * from {{ ref('int_prices__matched') }}
),

dated as (
    select
        *,
        false as is_backcast
    from {{ ref('int_prices__dated') }}
    {% if var('price_backcast') %}
    union all
    select
        * replace (
            timestamp '1970-01-01 00:00:00' as valid_from_at, first_from_at as valid_to_at
        ),
        true as is_backcast
    from {{ ref('int_prices__dated') }}
    where valid_from_at = first_from_at
    {% endif %}
),

eligible as (
    select
        contexts.*,
        dated.unit,
        dated.unit_price,
        dated.price_id,
        dated.price_snapshot_id,
        greatest(dated.valid_from_at, matched.valid_from_at) as valid_from_at,
        least(dated.valid_to_at, matched.valid_to_at) as valid_to_at,
        dated.is_backcast,
        matched.catalog,
        case matched.catalog
            {% for catalog in var('price_list_order') -%}
            when '{{ catalog }}' then {{ loop.index0 }}
            {% endfor -%}
            else {{ var('price_list_order') | length }}
        end as catalog_rank,
        case when dated.is_batch = contexts.is_batch then 0 else 1 end as batch_rank,
        case when dated.region = contexts.price_region then 0 else 1 end as region_rank,
        -dated.context_above_tokens as band_rank,
        case when dated.service_tier = contexts.service_tier then 0 else 1 end as tier_rank,
        -dated.priority as priority_rank
    from contexts
    inner join matched
        on
            contexts.price_provider is not distinct from matched.price_provider
            and contexts.price_model = matched.price_model
    inner join dated
        on
            matched.catalog = dated.catalog
            and matched.price_key = dated.price_key
            and matched.catalog_provider = dated.catalog_provider
            and matched.valid_from_at < dated.valid_to_at
            and matched.valid_to_at > dated.valid_from_at
    where
        dated.currency = 'USD'
        and dated.unit_price < {{ price_limit() }}
        and dated.service_tier in ('standard', contexts.service_tier)
        and (not dated.is_batch or contexts.is_batch)
        and dated.region in ('', contexts.price_region)
        and dated.context_above_tokens <= contexts.context_above_tokens
)

select * from eligible
