-- Grain: one row per usage record, with what decides its prices and its owner columns.

with usage as (
    select * from {{ ref('int_usage__measured') }}
),

sized as (
    select
        *,
        -- A sum over several calls has the size of their mean.
        case
            when requests > 1 then input_total_tokens // requests
            else input_total_tokens
        end as input_tokens_of_call
    from usage
),

classified as (
    select
        * exclude (region, input_tokens_of_call),
        cast({{ context_band('input_tokens_of_call') }} as bigint) as context_above_tokens,
        region,
        case
            when region like 'us%' then 'us'
            when region like 'eu%' then 'eu'
            when region in ('', 'global', 'not_available') or region is null then ''
            else 'regional'
        end as price_region
    from sized
)

select * from classified
