-- Grain: one row per UTC day and all dimensions the API groups by.

with source as (
    select * from {{ source('openai', 'openai__costs') }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = 'openai_costs'
),

observed as (
    select
        source.*,
        windows.source as source_name,
        windows.is_complete,
        windows.observed_at,
        windows.page_number
    from source
    inner join windows
        on
            source._gateway = windows.gateway
            and source.endpoint = windows.scope
            and source.bucket_start_at = windows.window_start_at
            and source.content_sha256 = windows.content_sha256
),

-- A line that stands on two pages of a chain counts once.
stated_once as (
    select *
    from observed
    qualify row_number() over (
        partition by source_name, endpoint, bucket_start_at, dimensions_sha256
        order by page_number, bucket_position
    ) = 1
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
    from stated_once
)

select * from renamed
