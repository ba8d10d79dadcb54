-- Grain: one row per gateway, roll-up table, UTC day and row of it; its newest observation counts.
-- LiteLLM's own counters: a control beside the spend logs, never a source of cost.

with source as (
    select * from {{ source('litellm', 'litellm__daily_spend') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        -- With the day, so that a filter on days reaches the table.
        partition by _gateway, litellm_table, usage_at, row_id
        order by source_version_at desc nulls last, observed_at desc nulls last, _row_hash desc
    ) = 1
),

renamed as (
    select
        _gateway as gateway,
        litellm_table,
        row_id,
        usage_at,
        cast(usage_at as date) as usage_date,
        api_key_id,
        api_requests,
        prompt_tokens,
        completion_tokens,
        spend,
        -- What does not say when it was asked for was written no later than it was seen.
        coalesce(observed_at, source_version_at, usage_at + interval 1 day) as observed_at
    from newest
)

select * from renamed
