-- Grain: one row per catalog, model entry and time it was listed: since when, until when.
-- A catalog that lists every model (a snapshot) says how long an entry held by when it was seen
-- changed or gone; one that lists dated rows says so itself, in the rows.

with entries as (
    select * from {{ ref('stg_price_catalog__entries') }}
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
        max(snapshot_number) + 1 as next_snapshot_number
    from numbered
    group by catalog, price_key, entry_hash, island
),

listed as (
    select
        islands.catalog,
        islands.price_key,
        islands.entry_hash,
        islands.catalog_provider,
        islands.mode,
        islands.observed_at,
        islands.snapshot_sha256,
        snapshots.observed_at as gone_at,
        true as is_complete_snapshot
    from islands
    left join snapshots
        on
            islands.catalog = snapshots.catalog
            and islands.next_snapshot_number = snapshots.snapshot_number
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
        cast(null as timestamp) as gone_at,
        is_complete_snapshot
    from entries
    where not is_complete_snapshot
),

observed as (
    select * from listed
    union all
    select * from dated_rows
)

select * from observed
