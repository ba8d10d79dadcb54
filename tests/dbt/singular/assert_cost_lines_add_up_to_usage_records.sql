{{ config(tags=['ci']) }}
-- The lines of a record cost what the record costs, to the last digit; a record without a cost has
-- no line with one.

with records as (
    select
        usage_record_id,
        list_cost,
        provider_cost,
        billed_cost
    from {{ ref('usage_records') }}
),

lines as (
    select
        usage_record_id,
        sum(list_cost) as list_cost,
        sum(provider_cost) as provider_cost,
        sum(billed_cost) as billed_cost,
        count(list_cost) as lines_with_a_cost
    from {{ ref('cost_lines') }}
    group by usage_record_id
),

compared as (
    select
        records.usage_record_id,
        records.list_cost as record_cost,
        lines.list_cost as lines_cost
    from records
    left join lines on records.usage_record_id = lines.usage_record_id
    where
        records.list_cost <> coalesce(lines.list_cost, 0)
        or records.provider_cost <> coalesce(lines.provider_cost, 0)
        or records.billed_cost <> coalesce(lines.billed_cost, 0)
        or (records.list_cost is null and lines.lines_with_a_cost > 0)
)

select * from compared
