{{ config(materialized='table') }}
-- Grain: one row per bucket or billing period and each content of it that counts.
-- A window is stated by its newest complete chain; until there is one, by its newest chain, which
-- is marked. Of windows that overlap, the one that begins first holds.

with pages as (
    select * from {{ ref('stg_provider__pages') }}
    where window_start_at is not null and scope is not null
),

newest as (
    select *
    from pages
    qualify dense_rank() over (
        partition by source, kind, scope, window_start_at
        order by is_complete desc, observed_at desc, chain desc
    ) = 1
),

distinct_contents as (
    select
        source,
        gateway,
        kind,
        scope,
        window_start_at,
        max(window_end_at) as window_end_at,
        content_sha256,
        min(page_number) as page_number,
        bool_and(is_complete) as is_complete,
        max(observed_at) as observed_at
    from newest
    group by source, gateway, kind, scope, window_start_at, content_sha256
),

-- Hours inside a day that was asked for whole are not added to it.
uncovered as (
    select *
    from distinct_contents
    qualify window_start_at >= coalesce(
        max(window_end_at) over (
            partition by source, kind, scope
            order by window_start_at
            range between unbounded preceding and interval 1 microsecond preceding
        ),
        window_start_at
    )
)

select * from uncovered
