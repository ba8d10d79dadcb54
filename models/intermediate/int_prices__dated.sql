{{ config(materialized='table') }}
-- Grain: one row per price and validity: catalog, model entry, unit, tier, batch, band, region.
-- A catalog that lists every model (a snapshot) says how long an entry held by when it was seen
-- changed or gone; a catalog of dated rows says so itself.

with entries as (
    select * from {{ ref('stg_price_catalog__entries') }}
),

prices as (
    select * from {{ ref('stg_price_catalog__prices') }}
),

snapshots as (
    select
        catalog,
        observed_at,
        row_number() over (partition by catalog order by observed_at) as snapshot_number
    from entries
    where is_complete_snapshot
    group by catalog, observed_at
),

numbered as (
    select
        entries.*,
        snapshots.snapshot_number,
        -- Consecutive snapshots with the same entry share this difference.
        snapshots.snapshot_number - row_number() over (
            partition by entries.catalog, entries.price_key, entries.entry_hash
            order by entries.observed_at
        ) as island
    from entries
    inner join snapshots
        on entries.catalog = snapshots.catalog and entries.observed_at = snapshots.observed_at
    where entries.is_complete_snapshot
),

islands as (
    select
        catalog,
        price_key,
        entry_hash,
        max(catalog_provider) as catalog_provider,
        max(mode) as mode,
        min(observed_at) as observed_at,
        min_by(snapshot_sha256, observed_at) as snapshot_sha256,
        max(snapshot_number) as last_snapshot_number
    from numbered
    group by catalog, price_key, entry_hash, island
),

held as (
    select
        islands.* exclude (last_snapshot_number),
        following.observed_at as gone_at
    from islands
    left join snapshots as following
        on
            islands.catalog = following.catalog
            and islands.last_snapshot_number + 1 = following.snapshot_number
),

dated_rows as (
    select
        catalog,
        price_key,
        entry_hash,
        catalog_provider,
        mode,
        observed_at,
        snapshot_sha256,
        cast(null as timestamp) as gone_at
    from entries
    where not is_complete_snapshot
),

all_entries as (
    select * from held
    union all
    select * from dated_rows
),

opened as (
    select
        all_entries.catalog,
        all_entries.price_key,
        all_entries.catalog_provider,
        all_entries.mode,
        all_entries.entry_hash,
        all_entries.observed_at,
        all_entries.snapshot_sha256,
        prices.unit,
        prices.service_tier,
        prices.is_batch,
        prices.context_above_tokens,
        prices.region,
        prices.unit_price,
        prices.currency,
        prices.priority,
        coalesce(prices.stated_from_at, all_entries.observed_at) as valid_from_at,
        least(
            coalesce(prices.stated_to_at, timestamp '9999-12-31 00:00:00'),
            coalesce(all_entries.gone_at, timestamp '9999-12-31 00:00:00')
        ) as stated_to_at
    from all_entries
    inner join prices on all_entries.entry_hash = prices.entry_hash
),

restated as (
    select *
    from opened
    -- The same price stated again for the same start: what was learned last holds.
    qualify row_number() over (
        partition by
            catalog, price_key, catalog_provider, unit, service_tier, is_batch,
            context_above_tokens, region, valid_from_at
        order by observed_at desc, priority desc, snapshot_sha256 desc
    ) = 1
),

closed as (
    select
        *,
        least(
            stated_to_at,
            coalesce(
                lead(valid_from_at) over (
                    partition by
                        catalog, price_key, catalog_provider, unit, service_tier, is_batch,
                        context_above_tokens, region
                    order by valid_from_at
                ),
                timestamp '9999-12-31 00:00:00'
            )
        ) as valid_to_at
    from restated
),

identified as (
    select
        closed.* exclude (stated_to_at),
        {{ provider_name('closed.catalog_provider') }} as provider,
        {{ without_routing_prefix('closed.price_key', 'closed.catalog_provider') }} as model,
        min(valid_from_at) over (partition by catalog, price_key, catalog_provider) as first_from_at,
        md5(concat_ws('|', catalog, price_key, catalog_provider, entry_hash, valid_from_at))
            as price_snapshot_id,
        md5(
            concat_ws(
                '|', catalog, price_key, catalog_provider, unit, service_tier, is_batch,
                context_above_tokens, region, currency, unit_price, valid_from_at
            )
        ) as price_id
    from closed
    where valid_from_at < valid_to_at
)

select * from identified
