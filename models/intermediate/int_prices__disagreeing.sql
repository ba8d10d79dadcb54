{{ config(materialized='table', tags=['price_catalog']) }}
-- Grain: one row per pair of prices of the same thing that two catalogs quote for the same time,
-- further apart than pricing.catalog_disagreement, with the time they share.

with quoted as (
    select * from {{ ref('price_snapshots') }}
    where context_band is null and region is null and currency = 'USD'
),

-- Most models are in one catalog alone; only the others are paired.
rivalled as (
    select
        provider,
        model
    from quoted
    group by provider, model
    having min(source) <> max(source)
),

prices as (
    select quoted.*
    from quoted
    inner join rivalled on quoted.provider = rivalled.provider and quoted.model = rivalled.model
),

disagreements as (
    select
        prices.provider,
        prices.model,
        prices.unit,
        prices.service_tier,
        prices.is_batch,
        greatest(prices.valid_from_at, rivals.valid_from_at) as valid_from_at,
        least(prices.valid_to_at, rivals.valid_to_at) as valid_to_at,
        cast(abs(prices.unit_price - rivals.unit_price) as decimal(18, 12)) as price_difference,
        prices.price_id || ',' || rivals.price_id as price_ids
    from prices
    inner join prices as rivals
        on
            prices.provider = rivals.provider
            and prices.model = rivals.model
            and prices.unit = rivals.unit
            and prices.service_tier = rivals.service_tier
            and prices.is_batch = rivals.is_batch
            and prices.source < rivals.source
            and prices.valid_from_at < rivals.valid_to_at
            and prices.valid_to_at > rivals.valid_from_at
    where
        abs(prices.unit_price - rivals.unit_price)
        > {{ var('catalog_disagreement') }} * least(prices.unit_price, rivals.unit_price)
)

select * from disagreements
