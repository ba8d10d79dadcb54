{{ config(materialized='table', tags=['price_catalog']) }}
-- Grain: one row per price and validity: catalog, model entry, unit, tier, batch, band, region.
-- A price begins when its catalog says so, else when it was first seen; it ends when the catalog
-- says so, when its entry was seen gone, or when the next price of the same key begins.

with observed as (
    select
        *,
        {{ provider_name('catalog_provider') }} as provider,
        {{ without_routing_prefix('price_key', 'catalog_provider') }} as model
    from {{ ref('int_prices__observed') }}
),

prices as (
    select * from {{ ref('stg_price_catalog__prices') }}
),

priced_entries as (
    select
        entry_hash,
        bool_or(stated_from_at is not null or stated_to_at is not null) as is_stated
    from prices
    group by entry_hash
),

kept as (
    select
        observed.catalog,
        observed.price_key,
        observed.catalog_provider,
        min(observed.observed_at) as first_observed_at,
        bool_or(priced_entries.is_stated or not observed.is_complete_snapshot) as is_stated
    from observed
    inner join priced_entries on observed.entry_hash = priced_entries.entry_hash
    group by observed.catalog, observed.price_key, observed.catalog_provider
),

opened as (
    select
        observed.catalog,
        observed.price_key,
        observed.catalog_provider,
        observed.mode,
        observed.entry_hash,
        observed.observed_at,
        observed.snapshot_sha256,
        observed.provider,
        observed.model,
        kept.is_stated,
        kept.first_observed_at,
        prices.unit,
        prices.service_tier,
        prices.is_batch,
        prices.context_above_tokens,
        prices.region,
        prices.unit_price,
        prices.currency,
        prices.priority,
        coalesce(prices.stated_from_at, observed.observed_at) as valid_from_at,
        least(
            coalesce(prices.stated_to_at, timestamp '9999-12-31 00:00:00'),
            coalesce(observed.gone_at, timestamp '9999-12-31 00:00:00')
        ) as stated_to_at
    from observed
    inner join kept
        on
            observed.catalog = kept.catalog
            and observed.price_key = kept.price_key
            and observed.catalog_provider is not distinct from kept.catalog_provider
    inner join prices on observed.entry_hash = prices.entry_hash
),

restated as (
    select *
    from opened
    where is_stated
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

dated as (
    select
        * exclude (first_observed_at, stated_to_at, is_stated),
        min(valid_from_at) over (
            partition by catalog, price_key, catalog_provider
        ) as first_from_at
    from closed
    where valid_from_at < valid_to_at
    union all
    -- Snapshots alone: an entry ends where the next of its model begins, and so do its prices.
    select
        * exclude (first_observed_at, stated_to_at, is_stated),
        stated_to_at as valid_to_at,
        first_observed_at as first_from_at
    from opened
    where not is_stated
),

identified as (
    select
        *,
        md5(
            concat_ws('|', catalog, price_key, catalog_provider, entry_hash, valid_from_at)
        ) as price_snapshot_id,
        md5(
            concat_ws(
                '|', catalog, price_key, catalog_provider, unit, service_tier, is_batch,
                context_above_tokens, region, currency, unit_price, valid_from_at
            )
        ) as price_id
    from dated
)

select * from identified
