-- Grain: one row per gateway, span of hours and model; the newest count of a span holds.
-- Where a gateway was counted by the hour, what was counted by the day beside it is left out.

with source as (
    select * from {{ source('gateway', 'gateway__counts') }}
),

newest as (
    select source.*
    from source
    qualify row_number() over (
        partition by source.gateway, source.hour_at, coalesce(source.hours, 1), source.model
        -- Counts only ever grow as late records arrive at the edge.
        order by source.requests desc, source._row_hash desc
    ) = 1
),

renamed as (
    select
        gateway,
        hour_at,
        coalesce(hours, 1) as hours,
        cast(hour_at as date) as usage_date,
        nullif(model, '') as model,
        requests,
        successful_requests,
        failed_requests,
        spend,
        _load_batch_id,
        _source as source
    from newest
),

finest as (
    select *
    from renamed
    qualify hours = min(hours) over (partition by gateway, usage_date)
)

select * from finest
