-- The records of an id that was logged more than once carry the numbers 1, 2, 3 and so on, over all
-- days, and what repeats a record names one that exists.

with contested as (
    select distinct
        gateway,
        request_id
    from {{ ref('int_usage__occurrences') }}
),

records as (
    select
        usage_records.gateway,
        usage_records.request_id,
        usage_records.occurrence,
        usage_records.usage_record_id,
        usage_records.duplicate_of
    from {{ ref('usage_records') }} as usage_records
    inner join contested
        on
            usage_records.gateway = contested.gateway
            and usage_records.request_id = contested.request_id
),

matched as (
    select
        records.*,
        records.duplicate_of is not null and firsts.usage_record_id is null as is_lost
    from records
    left join records as firsts on records.duplicate_of = firsts.usage_record_id
),

counted as (
    select
        gateway,
        request_id,
        count(*) as records,
        count(distinct occurrence) as numbers,
        max(occurrence) as highest,
        bool_or(is_lost) as has_lost_its_first
    from matched
    group by gateway, request_id
)

select *
from counted
where records <> numbers or records <> highest or has_lost_its_first
