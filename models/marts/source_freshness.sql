-- Grain: one row per source of tollbook.yml, or folder of landing that is one by its name.

with configured as (
    select * from {{ source('configuration', 'sources') }}
),

batches as (
    select * from {{ source('audit', 'load_batches') }}
),

-- What a source was asked for and has not given yet; what cannot be had is no reason to wait.
gaps as (
    select distinct source
    from {{ source('audit', 'extract_gaps') }}
    where closed_at is null and not is_final
),

loaded as (
    select
        source,
        -- That owners were looked at is no event of the gateway.
        max(case when kind is distinct from 'owners' then max_event_at end) as last_event_at,
        -- A rejected file brought nothing: it does not make its source fresh.
        max(case when status <> 'rejected' then loaded_at end) as last_loaded_at,
        cast(sum(rows_loaded) as bigint) as rows_loaded,
        cast(sum(rows_quarantined) as bigint) as rows_quarantined
    from batches
    group by source
),

joined as (
    select
        coalesce(configured.source, loaded.source) as source,
        loaded.last_event_at,
        loaded.last_loaded_at,
        -- A source that answered that it has nothing new is as fresh as one that gave something.
        case
            when loaded.last_loaded_at >= configured.last_asked_at then loaded.last_loaded_at
            else coalesce(configured.last_asked_at, loaded.last_loaded_at)
        end as last_seen_at,
        configured.expected_interval_minutes,
        coalesce(loaded.rows_loaded, 0) as rows_loaded,
        coalesce(loaded.rows_quarantined, 0) as rows_quarantined,
        gaps.source is not null as has_gaps
    from configured
    full outer join loaded on configured.source = loaded.source
    left join gaps on configured.source = gaps.source
),

due as (
    select
        *,
        -- Three missed intervals make a source stale.
        last_seen_at + 3 * expected_interval_minutes * interval 1 minute as next_due_at
    from joined
),

final as (
    select
        source,
        last_event_at,
        last_loaded_at,
        date_diff('minute', last_event_at, {{ as_of() }}) as lag_minutes,
        expected_interval_minutes,
        rows_loaded,
        rows_quarantined,
        case
            when last_seen_at is null then 'never_loaded'
            when next_due_at <= {{ as_of() }} then 'stale'
            when has_gaps then 'incomplete'
            when expected_interval_minutes is null then 'unscheduled'
            else 'fresh'
        end as status,
        next_due_at
    from due
)

select * from final
