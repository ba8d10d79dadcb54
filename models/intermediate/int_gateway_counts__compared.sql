-- Grain: one row per gateway, UTC day and model counted at the gateway's edge.
-- Only hours that were counted and are old enough for their late records are compared.

with counts as (
    select
        *,
        bool_or(model is not null) over (partition by gateway, usage_date) as is_split_by_model
    from {{ ref('stg_gateway__counts') }}
    where
        hour_at + hours * interval 1 hour + interval {{ var('lost_after_minutes') }} minute
        <= {{ as_of() }}
),

spans as (
    select distinct
        gateway,
        hour_at,
        hours,
        is_split_by_model
    from counts
),

-- Two joins by equality instead of one by a range: spans are hours, or whole days.
counted_usage as (
    select
        logged.*,
        spans.is_split_by_model
    from {{ ref('int_usage__logged_hours') }} as logged
    inner join spans
        on logged.gateway = spans.gateway and logged.hour_at = spans.hour_at and spans.hours = 1
    union all
    select
        logged.*,
        spans.is_split_by_model
    from {{ ref('int_usage__logged_hours') }} as logged
    inner join spans
        on
            logged.gateway = spans.gateway
            and logged.usage_date = cast(spans.hour_at as date)
            and spans.hours = 24
),

usage as (
    select
        *,
        {{ without_routing_prefix('logged_model', 'provider') }} as bare_model
    from counted_usage
),

-- The edge may write a model with or without the provider before it; the log says which it is.
names as (
    select
        gateway,
        logged_model,
        min(bare_model) as bare_model
    from usage
    where logged_model is not null
    group by gateway, logged_model
),

counted as (
    select
        counts.gateway,
        counts.usage_date,
        case
            when counts.is_split_by_model
                then coalesce(
                    names.bare_model,
                    {{ without_routing_prefix('counts.model', "cast(null as varchar)") }},
                    ''
                )
        end as model,
        cast(least(sum(counts.requests), {{ count_limit() }}) as bigint) as counted_requests,
        string_agg(
            strftime(counts.hour_at, '%H') || '=' || cast(counts.requests as varchar),
            ','
            order by counts.hour_at
        ) as counted_hours
    from counts
    left join names on counts.gateway = names.gateway and counts.model = names.logged_model
    group by all
),

by_model as (
    select
        gateway,
        usage_date,
        case when is_split_by_model then coalesce(bare_model, '') end as model,
        cast(sum(requests) as bigint) as logged_requests,
        -- A mean over several currencies is none.
        case
            when count(distinct currency) <= 1
                then {{ mean_cost('sum(billed_cost)', 'sum(priced_records)') }}
        end as mean_billed_cost,
        min(currency) as currency,
        min(account_id) as account_id
    from usage
    group by gateway, usage_date, case when is_split_by_model then coalesce(bare_model, '') end
),

by_group as (
    select
        gateway,
        usage_date,
        model_group as model,
        cast(sum(requests) as bigint) as logged_requests,
        case
            when count(distinct currency) <= 1
                then {{ mean_cost('sum(billed_cost)', 'sum(priced_records)') }}
        end as mean_billed_cost,
        min(currency) as currency
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
        case
            when by_model.logged_requests is not null then by_model.mean_billed_cost
            else by_group.mean_billed_cost
        end as mean_billed_cost,
        case
            when by_model.logged_requests is not null then by_model.currency
            else by_group.currency
        end as currency,
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
