-- Grain: one row per UTC day and all dimensions the API groups by.
-- What people export from the console is the same money in fewer dimensions: where the API states
-- a day, the export of that day is left out.

with {{ rows_of_windows('openai', 'openai_costs') }},

finest as (
    select *
    from stated_once
    qualify
        endpoint = 'costs'
        or not bool_or(endpoint = 'costs') over (partition by source_name, bucket_start_at)
),

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
    from finest
)

select * from renamed
