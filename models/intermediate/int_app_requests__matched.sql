-- Grain: one row per application request: whether the gateway has a record of it.
-- Matched by id (the provider's or the gateway's call id), else by key, model and equal tokens
-- within a minute.

with app as (
    select
        *,
        {{ without_routing_prefix('model', "cast(null as varchar)") }} as bare_model
    from {{ ref('stg_app__requests') }}
),

usage as (
    select * from {{ ref('usage_records') }}
),

logged_ids as (
    select gateway, request_id as logged_id
    from usage
    union
    select gateway, trace_id as logged_id
    from usage
    where trace_id is not null
),

by_id as (
    select
        app.*,
        logged_ids.logged_id is not null as is_matched_by_id
    from app
    left join logged_ids
        on app.gateway = logged_ids.gateway and app.request_id = logged_ids.logged_id
),

by_fingerprint as (
    select distinct
        by_id.gateway,
        by_id.request_id
    from by_id
    inner join usage
        on
            by_id.gateway = usage.gateway
            and by_id.api_key_id = usage.api_key_id
            and by_id.bare_model in (usage.model, usage.model_group)
            and by_id.input_tokens = usage.input_total_tokens
            and by_id.output_tokens = usage.output_total_tokens
            and usage.started_at between by_id.occurred_at - interval 60 second
            and by_id.occurred_at + interval 60 second
    where not by_id.is_matched_by_id
),

judged as (
    select
        by_id.*,
        case
            when by_id.is_matched_by_id then 'matched'
            when by_fingerprint.request_id is not null then 'matched'
            when by_id.occurred_at + interval {{ var('lost_after_minutes') }} minute
                > timestamp '{{ var("as_of") }}' then 'pending'
            else 'missing_usage'
        end as match_status
    from by_id
    left join by_fingerprint
        on by_id.gateway = by_fingerprint.gateway and by_id.request_id = by_fingerprint.request_id
)

select * from judged
