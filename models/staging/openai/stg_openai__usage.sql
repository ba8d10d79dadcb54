-- Grain: one row per endpoint, bucket and all dimensions the API groups by.
-- OpenAI's input includes what was read from and written to caches, in every modality; the units
-- of the contract stand beside each other, so the parts are taken out here. Only parts that add up
-- are known: otherwise the units of that side are null and has_token_mismatch says so.

with {{ rows_of_windows('openai', 'openai_usage') }},

summed as (
    select
        *,
        endpoint in ('completions', 'decisions') as has_tokens,
        coalesce(input_cached_tokens, 0) as cached_read,
        coalesce(input_cached_audio_tokens, 0) as cached_audio,
        coalesce(input_cache_write_30m_tokens, 0) as cache_write_30m,
        coalesce(input_cache_write_12h_tokens, 0) as cache_write_12h,
        greatest(
            coalesce(input_cache_write_tokens, 0),
            coalesce(input_cache_write_30m_tokens, 0) + coalesce(input_cache_write_12h_tokens, 0)
        ) as cache_write,
        coalesce(input_image_tokens, 0) as input_image,
        coalesce(output_audio_tokens, 0) as output_audio,
        coalesce(output_image_tokens, 0) as output_image
    from stated_once
),

-- Audio input was once stated with its cached part and is now without; what adds up tells which.
split as (
    select
        *,
        input_tokens - cached_read - cache_write as uncached,
        case
            when
                cached_audio > 0
                and input_text_tokens is not null
                and input_text_tokens + coalesce(input_audio_tokens, 0) + input_image
                = input_tokens - cached_read - cache_write + cached_audio
                then input_audio_tokens - cached_audio
            else coalesce(input_audio_tokens, 0)
        end as input_audio
    from summed
),

checked as (
    select
        *,
        uncached - input_audio - input_image as input_text,
        output_tokens - output_audio - output_image as output_text,
        coalesce(
            least(
                uncached - input_audio - input_image,
                cached_read - cached_audio,
                input_audio
            ) < 0,
            false
        ) as is_input_mismatch,
        coalesce(output_tokens - output_audio - output_image < 0, false) as is_output_mismatch
    from split
),

renamed as (
    select
        -- identifiers
        source_name as source,
        dimensions_sha256,
        'openai' as provider,
        endpoint,
        provider_project_id,
        provider_api_key_id,
        model,
        {{ service_tier_name('lower(service_tier)') }} as service_tier,
        coalesce(is_batch, false) or coalesce(lower(service_tier) = 'batch', false) as is_batch,
        api_source,
        image_size,
        image_source,
        vector_store_id,
        context_level,

        -- measures
        {% set input_known = "has_tokens and not is_input_mismatch" -%}
        {% set output_known = "has_tokens and not is_output_mismatch" -%}
        case when {{ input_known }} then input_text end as input_text_uncached_tokens,
        case when {{ input_known }} then cached_read - cached_audio end
            as input_cached_read_tokens,
        case when {{ input_known }} then cache_write_30m end as input_cache_write_30m_tokens,
        case when {{ input_known }} then cache_write_12h end as input_cache_write_12h_tokens,
        case when {{ input_known }} then cache_write - cache_write_30m - cache_write_12h end
            as input_cache_write_unknown_ttl_tokens,
        case when {{ input_known }} then input_audio end as input_audio_tokens,
        case when {{ input_known }} then cached_audio end as input_audio_cached_tokens,
        case when {{ input_known }} then input_image end as input_image_tokens,
        case when {{ output_known }} then output_text end as output_text_tokens,
        case when {{ output_known }} then output_audio end as output_audio_tokens,
        case when {{ output_known }} then output_image end as output_image_tokens,
        case when endpoint = 'embeddings' then input_tokens end as embedding_tokens,
        case when endpoint = 'moderations' then input_tokens end as moderation_tokens,
        case when endpoint = 'audio_transcriptions' then cast(seconds as decimal(20, 6)) end
            as input_audio_seconds,
        case when endpoint = 'audio_speeches' then characters end as input_characters,
        case when endpoint = 'images' then images end as output_images,
        case when endpoint = 'web_search_calls' then num_requests end as web_search_calls,
        case when endpoint = 'file_search_calls' then num_requests end as file_search_calls,
        case when endpoint = 'code_interpreter_sessions' then num_sessions end as code_sessions,
        -- Bytes that lay there all through the bucket.
        case
            when endpoint = 'vector_stores'
                then cast(
                    usage_bytes * (date_diff('second', bucket_start_at, bucket_end_at) / 3600.0)
                    / 1073741824.0 as decimal(20, 6)
                )
        end as storage_gibibyte_hours,
        -- A search is made within a request that its own endpoint counts.
        case when endpoint <> 'web_search_calls' then num_model_requests end as requests,
        case when has_tokens then input_tokens end as input_total_tokens,
        case when has_tokens then output_tokens end as output_total_tokens,
        has_tokens and (is_input_mismatch or is_output_mismatch) as has_token_mismatch,

        -- times
        bucket_start_at,
        bucket_end_at,
        cast(bucket_start_at as date) as provider_date,

        -- how sure
        is_complete,
        observed_at,

        -- lineage
        _load_batch_id
    from checked
)

select * from renamed
