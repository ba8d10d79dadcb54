-- Grain: one row per distinct catalog entry, unit, tier, batch, context band, region and start.

with source as (
    select * from {{ source('price_catalog', 'price_catalog__prices') }}
),

renamed as (
    select
        catalog,
        price_key,
        entry_hash,
        unit,
        service_tier,
        is_batch,
        context_above_tokens,
        region,
        unit_price,
        currency,
        priority,
        valid_from_at as stated_from_at,
        valid_to_at as stated_to_at
    from source
    qualify row_number() over (
        partition by
            entry_hash, unit, service_tier, is_batch, context_above_tokens, region, valid_from_at
        order by priority desc, unit_price desc
    ) = 1
)

select * from renamed
