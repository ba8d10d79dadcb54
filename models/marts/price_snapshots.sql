{{ config(tags=['price_catalog']) }}
-- Grain: one row per price and validity.

with dated as (
    select * from {{ ref('int_prices__dated') }}
),

final as (
    select
        price_id,
        price_snapshot_id,
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        {{ band_name('context_above_tokens') }} as context_band,
        {{ cache_lifetime('unit') }} as cache_ttl,
        nullif(region, '') as region,
        unit_price,
        currency,
        valid_from_at,
        valid_to_at,
        observed_at,
        catalog as source,
        snapshot_sha256,
        price_key
    from dated
)

select * from final
