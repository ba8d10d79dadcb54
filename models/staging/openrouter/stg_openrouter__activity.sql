-- Grain: one row per gateway, UTC day, model and endpoint of OpenRouter's account; the newest
-- answer holds. What was asked by key, user or workspace is the same money and is left out.

with source as (
    select * from {{ source('openrouter', 'openrouter__activity') }}
    where api_key_id is null and user_id is null and workspace_id is null
),

newest as (
    select *
    from source
    qualify row_number() over (
        -- With the day, so that a filter on days reaches the table.
        partition by _gateway, usage_at, model, model_permaslug, endpoint_id, provider_name
        order by observed_at desc nulls last, _row_hash desc
    ) = 1
),

renamed as (
    select
        _gateway as gateway,
        usage_at,
        cast(usage_at as date) as usage_date,
        model,
        endpoint_id,
        provider_name,
        requests,
        usage as charged_amount,
        -- What does not say when it was asked for was asked when its day was over.
        coalesce(observed_at, usage_at + interval 1 day) as observed_at
    from newest
)

select * from renamed
