-- Grain: one row per billable attempt (gateway, request id, start, key).
-- A row is restated when a batch settles or a field is corrected; its newest observation counts.
-- Only ids that were landed more than once need to be compared, so the rest passes unsorted.

with contested as (
    select * from {{ source('litellm', 'litellm__contested_requests') }}
),

-- The table is named twice, for one shared CTE would be read whole whatever days are asked for.
landed_once as (
    select source.*
    from {{ source('litellm', 'litellm__spend_logs') }} as source
    left join contested
        on source._gateway = contested._gateway and source.request_id = contested.request_id
    where contested.request_id is null
),

newest as (
    select source.*
    from {{ source('litellm', 'litellm__spend_logs') }} as source
    inner join contested
        on source._gateway = contested._gateway and source.request_id = contested.request_id
    qualify row_number() over (
        partition by source._gateway, source.request_id, source.started_at, source.api_key_id
        order by
            source.source_version_at desc nulls last,
            source.observed_at desc nulls last,
            source._row_hash desc
    ) = 1
),

unified as (
    select * from landed_once
    union all
    select * from newest
)

select * from unified
