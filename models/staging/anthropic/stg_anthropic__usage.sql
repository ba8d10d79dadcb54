-- Grain: one row per bucket and all dimensions the report is grouped by.
-- Anthropic states every kind of token beside the others, so nothing is taken out here.

with {{ rows_of_windows('anthropic', 'anthropic_usage') }},

renamed as (
    select
        -- identifiers
        source_name as source,
        dimensions_sha256,
        'anthropic' as provider,
        -- Null is the default workspace, and a null key the Workbench.
        provider_project_id,
        provider_api_key_id,
        service_account_id,
        model,
        {{ service_tier_name("coalesce(nullif(lower(service_tier), 'standard'), lower(speed))") }}
            as service_tier,
        coalesce(lower(service_tier) = 'batch', false) as is_batch,
        context_window,
        inference_geo,

        -- measures
        uncached_input_tokens as input_text_uncached_tokens,
        cache_read_input_tokens as input_cached_read_tokens,
        cache_creation_5m_input_tokens as input_cache_write_5m_tokens,
        cache_creation_1h_input_tokens as input_cache_write_1h_tokens,
        output_tokens as output_text_tokens,
        web_search_requests as web_search_calls,
        web_fetch_requests as tool_calls,

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
