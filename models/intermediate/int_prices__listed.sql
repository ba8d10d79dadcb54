{{ config(materialized='table', tags=['price_catalog']) }}
-- Grain: one row per catalog, model entry and span in which some price of it holds.

with dated as (
    select * from {{ ref('int_prices__dated') }}
),

spans as (
    select distinct
        catalog,
        price_key,
        catalog_provider,
        provider,
        first_from_at,
        valid_from_at,
        valid_to_at
    from dated
)

select * from spans
