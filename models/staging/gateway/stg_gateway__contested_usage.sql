-- Grain: one row per billable attempt whose request id was landed more than once, of any day.
-- Narrow on purpose: telling occurrences apart needs all days, the rest of a row does not.

with source as (
    select * from {{ source('gateway', 'gateway__usage') }}
),

contested as (
    select * from {{ source('gateway', 'gateway__contested_requests') }}
),

newest as (
    select
        source._gateway as gateway,
        source.request_id,
        source.started_at,
        source.api_key_id,
        source.model,
        source.input_tokens as prompt_tokens,
        source.output_tokens as completion_tokens,
        source.total_tokens,
        1 as part_count,
        source._row_hash
    from source
    inner join contested
        on source._gateway = contested._gateway and source.request_id = contested.request_id
    qualify row_number() over (
        partition by source._gateway, source.request_id, source.started_at, source.api_key_id
        order by {{ newest_gateway_observation('source') }}
    ) = 1
)

select * from newest
