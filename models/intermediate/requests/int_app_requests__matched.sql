{{ config(meta={'rows_need': ['stg_app__requests']}) }}
-- Grain: one row per application request, near the days that are built, and usage record that is
-- its own; one row for a request without any. Several records have the id of one request where a
-- call was logged again or tried again: is_chosen says which stands for it.
-- By id (the provider's or the gateway's call id) within a day; else by key, model and equal tokens
-- within 60 seconds, one record for one request, with records that no request names.

with app as (
    select
        *,
        {{ without_routing_prefix('model', "cast(null as varchar)") }} as bare_model
    from {{ ref('stg_app__requests') }}
    where {{ in_request_days('occurred_at', 2) }}
),

usage as (
    select * from {{ ref('usage_records') }}
    where {{ in_request_days('started_at', 2) }}
),

logged_ids as (
    select
        gateway,
        request_id as logged_id,
        usage_record_id,
        usage_date,
        true as is_request_id
    from usage
    union all
    select
        gateway,
        trace_id as logged_id,
        usage_record_id,
        usage_date,
        false as is_request_id
    from usage
    where trace_id is not null and trace_id <> request_id
),

named as (
    select
        app.gateway,
        app.request_id,
        logged_ids.usage_record_id,
        logged_ids.is_request_id
    from app
    inner join logged_ids
        on
            app.gateway = logged_ids.gateway
            and app.request_id = logged_ids.logged_id
            and abs(date_diff('day', app.usage_date, logged_ids.usage_date)) <= 1
    -- A record is one request's: that whose id it bears, before one that shares its call.
    qualify row_number() over (
        partition by logged_ids.usage_record_id
        order by logged_ids.is_request_id desc, app.request_id asc
    ) = 1
),

by_id as (
    select
        named.gateway,
        named.request_id,
        named.usage_record_id,
        row_number() over (
            partition by named.gateway, named.request_id
            order by
                named.is_request_id desc,
                usage.duplicate_of is null desc,
                usage.status = 'success' desc,
                usage.attempt desc,
                usage.usage_record_id asc
        ) = 1 as is_chosen
    from named
    inner join usage on named.usage_record_id = usage.usage_record_id
),

asked_names as (
    select
        *,
        bare_model as model_name
    from app
    union all
    select
        *,
        model as model_name
    from app
    where model <> bare_model
),

asked as (
    select asked_names.*
    from asked_names
    left join by_id
        on
            asked_names.gateway = by_id.gateway
            and asked_names.request_id = by_id.request_id
            and by_id.is_chosen
    where by_id.request_id is null
),

logged_names as (
    select
        *,
        model as model_name
    from usage
    union all
    select
        *,
        model_group as model_name
    from usage
    where model_group is distinct from model
),

logged as (
    select logged_names.*
    from logged_names
    left join by_id on logged_names.usage_record_id = by_id.usage_record_id
    where
        by_id.usage_record_id is null
        and logged_names.duplicate_of is null
        and logged_names.requests > 0
),

in_minutes as (
    {{ pairs_by_minute('occurred_at', 'started_at', none) | indent(4) }}
),

in_other_minutes as (
    {{ pairs_by_minute(
        'occurred_at + interval 30 second', 'started_at + interval 30 second', 'in_minutes'
    ) | indent(4) }}
),

paired as (
    select * from in_minutes
    union all
    select * from in_other_minutes
),

-- What is left lies apart by more than half a minute: the nearest of each other.
nearest as (
    select
        asked.gateway,
        asked.request_id,
        logged.usage_record_id
    from asked
    inner join logged
        on
            asked.gateway = logged.gateway
            and asked.api_key_id = logged.api_key_id
            and asked.input_tokens = logged.input_total_tokens
            and asked.output_tokens = logged.output_total_tokens
            and asked.model_name = logged.model_name
            and logged.started_at between asked.occurred_at - interval 60 second
            and asked.occurred_at + interval 60 second
    left join paired as taken
        on asked.gateway = taken.gateway and asked.request_id = taken.request_id
    left join paired as given on logged.usage_record_id = given.usage_record_id
    where taken.request_id is null and given.usage_record_id is null
    qualify
        row_number() over (
            partition by asked.gateway, asked.request_id
            order by
                abs(date_diff('microsecond', asked.occurred_at, logged.started_at)),
                logged.usage_record_id
        ) = 1
        and row_number() over (
            partition by logged.usage_record_id
            order by
                abs(date_diff('microsecond', asked.occurred_at, logged.started_at)),
                asked.request_id
        ) = 1
),

matched as (
    select
        gateway,
        request_id,
        usage_record_id,
        is_chosen,
        'id' as match_method
    from by_id
    union all
    select
        *,
        true as is_chosen,
        'fingerprint' as match_method
    from paired
    union all
    select
        *,
        true as is_chosen,
        'fingerprint' as match_method
    from nearest
),

final as (
    select
        app.*,
        matched.usage_record_id,
        coalesce(matched.is_chosen, true) as is_chosen,
        matched.match_method
    from app
    left join matched on app.gateway = matched.gateway and app.request_id = matched.request_id
)

select * from final
