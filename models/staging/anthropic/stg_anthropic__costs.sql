-- Grain: one row per report, UTC day and all dimensions it is grouped by.
-- The analytics report states the same money after discounts: it is kept apart by its report.

with {{ rows_of_windows('anthropic', 'anthropic_costs') }},

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
