-- Grain: one row per report, UTC day and all dimensions it is grouped by.
-- The analytics report states the same money after discounts: it is kept apart by its report.

with source as (
    select * from {{ source('anthropic', 'anthropic__costs') }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = 'anthropic_costs'
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
        'anthropic' as provider,
        endpoint as report,
        provider_project_id,
        description,
        cost_type,
        token_type,
        model,
        {{ service_tier_name("coalesce(nullif(lower(service_tier), 'standard'), lower(speed))") }}
            as service_tier,
        coalesce(lower(service_tier) = 'batch', false) as is_batch,
        context_window,
        inference_geo,
        product,
        rbac_group_id,

        -- measures
        amount,
        currency,

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
