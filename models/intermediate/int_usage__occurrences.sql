{{ config(materialized='table') }}
-- Grain: one row per billable attempt that shares its request id with others (gateway, id, start,
-- key). Equal key, model and tokens: the same call logged again. Anything else: two calls.

with attempts as (
    select * from {{ ref('int_usage__attempts') }}
),

numbered as (
    select
        *,
        coalesce(sum(part_count) over (
            partition by gateway, request_id
            order by started_at, api_key_id, _row_hash
            rows between unbounded preceding and 1 preceding
        ), 0) as occurrences_before,
        count(*) over (partition by gateway, request_id) as attempts_of_id
    from attempts
),

compared as (
    select
        *,
        min(occurrences_before) over (
            partition by
                gateway, request_id, api_key_id, model,
                prompt_tokens, completion_tokens, total_tokens
        ) as first_occurrences_before
    from numbered
),

judged as (
    select
        gateway,
        request_id,
        started_at,
        api_key_id,
        cast(occurrences_before as bigint) as occurrences_before,
        case
            when first_occurrences_before < occurrences_before
                then cast(first_occurrences_before as bigint) + 1
        end as duplicate_of_occurrence,
        attempts_of_id
    from compared
    where attempts_of_id > 1
)

select * from judged
