-- Grain: one row per application request: whether the gateway has a record of it.
-- Matched by id (the provider's or the gateway's call id), else by key, model and equal tokens
-- within a minute, with a record that no other request names by its id.

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
    select
        gateway,
        request_id as logged_id,
        usage_record_id
    from usage
    union all
    select
        gateway,
        trace_id as logged_id,
        usage_record_id
    from usage
    where trace_id is not null
),

named as (
    select
        app.gateway,
        app.request_id,
        logged_ids.usage_record_id
    from app
    inner join logged_ids
        on app.gateway = logged_ids.gateway and app.request_id = logged_ids.logged_id
),

by_id as (
    select distinct
        gateway,
        request_id
    from named
),

by_fingerprint as (
    select distinct
        app.gateway,
        app.request_id
    from app
    inner join usage
        on
            app.gateway = usage.gateway
            and app.api_key_id = usage.api_key_id
            and app.input_tokens = usage.input_total_tokens
            and app.output_tokens = usage.output_total_tokens
            and usage.started_at between app.occurred_at - interval 60 second
            and app.occurred_at + interval 60 second
    left join named on usage.usage_record_id = named.usage_record_id
    where
        named.usage_record_id is null
        and (app.bare_model in (usage.model, usage.model_group) or app.model = usage.model_group)
),

judged as (
    select
        app.*,
        by_id.request_id is not null as is_matched_by_id,
        case
            when by_id.request_id is not null then 'matched'
            when by_fingerprint.request_id is not null then 'matched'
            when
                app.occurred_at + interval {{ var('lost_after_minutes') }} minute
                > {{ as_of() }}
                then 'pending'
            else 'missing_usage'
        end as match_status
    from app
    left join by_id
        on app.gateway = by_id.gateway and app.request_id = by_id.request_id
    left join by_fingerprint
        on app.gateway = by_fingerprint.gateway and app.request_id = by_fingerprint.request_id
)

select * from judged
