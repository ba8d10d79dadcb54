-- Grain: one row per gateway, UTC day and model counted at the gateway's edge.
-- Only hours that were counted and are old enough for their late records are compared.

with counts as (
    select
        *,
        {{ without_routing_prefix('model', "cast(null as varchar)") }} as bare_model,
        bool_or(model is not null) over (partition by gateway, usage_date) as is_split_by_model
    from {{ ref('stg_gateway__counts') }}
    where
        hour_at + interval 1 hour + interval {{ var('lost_after_minutes') }} minute
        <= timestamp '{{ var("as_of") }}'
),

counted as (
    select
        gateway,
        usage_date,
        case when is_split_by_model then coalesce(bare_model, '') end as model,
        cast(sum(requests) as bigint) as counted_requests,
        string_agg(strftime(hour_at, '%H') || '=' || cast(requests as varchar), ',' order by hour_at)
            as counted_hours
    from counts
    group by gateway, usage_date, case when is_split_by_model then coalesce(bare_model, '') end
),

hours as (
    select distinct gateway, hour_at, is_split_by_model
    from counts
),

usage as (
    select
        usage_records.*,
        hours.is_split_by_model
    from {{ ref('usage_records') }} as usage_records
    inner join hours
        on
            usage_records.gateway = hours.gateway
            and date_trunc('hour', usage_records.started_at) = hours.hour_at
    where usage_records.duplicate_of is null and usage_records.requests > 0
),

by_model as (
    select
        gateway,
        usage_date,
        case when is_split_by_model then coalesce(logged_model, '') end as model,
        cast(sum(requests) as bigint) as logged_requests,
        cast(sum(billed_cost) / nullif(count(billed_cost), 0) as decimal(38, 18)) as mean_billed_cost,
        min(account_id) as account_id
    from usage
    group by gateway, usage_date, case when is_split_by_model then coalesce(logged_model, '') end
),

by_group as (
    select
        gateway,
        usage_date,
        model_group as model,
        cast(sum(requests) as bigint) as logged_requests,
        cast(sum(billed_cost) / nullif(count(billed_cost), 0) as decimal(38, 18)) as mean_billed_cost
    from usage
    where is_split_by_model and model_group is not null
    group by gateway, usage_date, model_group
),

compared as (
    select
        counted.gateway,
        counted.usage_date,
        counted.model,
        counted.counted_requests,
        counted.counted_hours,
        -- An edge that counts the alias a client asked for is compared with the alias.
        coalesce(by_model.logged_requests, by_group.logged_requests, 0) as logged_requests,
        coalesce(by_model.mean_billed_cost, by_group.mean_billed_cost) as mean_billed_cost,
        coalesce(by_model.account_id, 'unassigned') as account_id
    from counted
    left join by_model
        on
            counted.gateway = by_model.gateway
            and counted.usage_date = by_model.usage_date
            and counted.model is not distinct from by_model.model
    left join by_group
        on
            counted.gateway = by_group.gateway
            and counted.usage_date = by_group.usage_date
            and counted.model = by_group.model
)

select * from compared
