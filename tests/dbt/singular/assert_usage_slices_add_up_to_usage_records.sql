{{ config(tags=['ci']) }}
-- Every billable cost stands in the slices once. Units that have a price count also where another
-- unit of the record has none, so only records with a cost are held against them.

with records as (
    select
        usage_date,
        sum(billed_cost) as billed_cost,
        sum(provider_cost) as provider_cost,
        sum(requests) as requests
    from {{ ref('usage_records') }}
    where cost_status <> 'cache_hit'
    group by usage_date
    having count(*) = count(provider_cost) and count(*) = count(billed_cost)
),

slices as (
    select
        usage_date,
        coalesce(sum(case when usage_class not in ('failed', 'retry') then billed_cost end), 0)
            as billed_cost,
        coalesce(sum(case when usage_class not in ('failed', 'retry') then provider_cost end), 0)
            as provider_cost,
        coalesce(sum(case when unit = 'requests' then quantity end), 0) as requests
    from {{ ref('int_usage__sliced') }}
    group by usage_date
)

select
    records.*,
    slices.billed_cost as sliced_billed_cost,
    slices.provider_cost as sliced_provider_cost
from records
left join slices on records.usage_date = slices.usage_date
where
    records.billed_cost is distinct from slices.billed_cost
    or records.provider_cost is distinct from slices.provider_cost
    or records.requests is distinct from slices.requests
