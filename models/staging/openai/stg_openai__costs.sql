-- Grain: one row per UTC day and all dimensions the API groups by.

with {{ rows_of_windows('openai', 'openai_costs') }},

renamed as (
    select
        -- identifiers
        source_name as source,
        dimensions_sha256,
        'openai' as provider,
        provider_project_id,
        provider_api_key_id,
        api_source,
        line_item,

        -- measures
        amount,
        currency,
        quantity,
        quantity_unit,

        -- times
        bucket_start_at,
        bucket_end_at,
        cast(bucket_start_at as date) as provider_date,

        -- how sure
        is_complete,
        observed_at,

        -- lineage
        _load_batch_id
    from stated_once
)

select * from renamed
