-- Grain: one row per catalog, provider, model and observation; several for a catalog of dated rows.
-- Two files observed at the same moment tell of one state: the larger hash stands for it.

with source as (
    select * from {{ source('price_catalog', 'price_catalog__entries') }}
),

one_per_observation as (
    select
        catalog,
        price_key,
        observed_at,
        snapshot_sha256,
        is_complete_snapshot,
        entry_hash,
        catalog_provider,
        mode
    from source
    where catalog_provider is not null or mode is not null
    qualify row_number() over (
        partition by
            catalog,
            catalog_provider,
            price_key,
            observed_at,
            case when is_complete_snapshot then '' else entry_hash end
        order by snapshot_sha256 desc, entry_hash desc
    ) = 1
)

select * from one_per_observation
