-- Grain: one row per usage record, with what decides its prices and its owner columns.

with usage as (
    select * from {{ ref('int_usage__measured') }}
),

classified as (
    select
        * exclude (region),
        cast({{ context_band('input_total_tokens') }} as bigint) as context_above_tokens,
        region,
        case
            when region like 'us%' then 'us'
            when region like 'eu%' then 'eu'
            when region in ('', 'global', 'not_available') or region is null then ''
            else 'regional'
        end as price_region
    from usage
)

select * from classified
