-- Grain: one row per gateway, UTC hour and model; the newest count of an hour holds.

with source as (
    select * from {{ source('gateway', 'gateway__counts') }}
),

newest as (
    select source.*
    from source
    qualify row_number() over (
        partition by source.gateway, source.hour_at, source.model
        -- Counts only ever grow as late records arrive at the edge.
        order by source.requests desc, source._row_hash desc
    ) = 1
),

renamed as (
    select
        gateway,
        hour_at,
        cast(hour_at as date) as usage_date,
        nullif(model, '') as model,
        requests,
        successful_requests,
        failed_requests,
        spend,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
