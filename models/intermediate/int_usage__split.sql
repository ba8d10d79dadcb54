-- Grain: one row per usage record; what the gateway counted, taken apart into disjoint parts.
-- A prompt includes cache reads and writes here, a completion includes reasoning: LiteLLM writes
-- them so (also for providers whose own API excludes them), staging makes the other gateways' so.

with usage as (
    select * from {{ ref('int_usage__unified') }}
),

counted as (
    select
        *,
        {{ is_litellm_bookkeeping('call_type') }}
        or coalesce(is_internal, false) as is_bookkeeping,
        {{ stated_count('prompt_tokens') }} as input_total,
        {{ stated_count('completion_tokens') }} as output_total,
        {{ stated_count('cached_tokens') }} as cached_read,
        {{ stated_count('cache_write_5m_tokens') }} as cache_write_5m,
        {{ stated_count('cache_write_30m_tokens') }} as cache_write_30m,
        {{ stated_count('cache_write_1h_tokens') }} as cache_write_1h,
        {{ stated_count('cache_write_12h_tokens') }} as cache_write_12h,
        {{ stated_count('prompt_audio_tokens') }} as input_audio,
        {{ stated_count('prompt_cached_audio_tokens') }} as input_audio_cached,
        {{ stated_count('prompt_image_tokens') }} as input_image,
        {{ stated_count('prompt_video_tokens') }} as input_video,
        {{ stated_count('tool_use_tokens') }} as input_tool,
        {{ stated_count('reasoning_tokens') }} as reasoning,
        {{ stated_count('completion_audio_tokens') }} as output_audio,
        -- Image models that do not split their output answer in image tokens alone.
        case
            when
                completion_image_tokens is null
                and completion_text_tokens is null
                and endpoint in ('image_generation', 'image_edit')
                then {{ stated_count('completion_tokens') }}
            else {{ stated_count('completion_image_tokens') }}
        end as output_image,
        greatest(
            coalesce(character_count, 0), coalesce(prompt_image_count, 0),
            coalesce(output_image_count, 0), coalesce(ocr_pages, 0), coalesce(query_count, 0),
            coalesce(web_search_requests, 0), coalesce(maps_grounding_requests, 0),
            coalesce(stated_output_characters, 0), coalesce(stated_input_pixels, 0),
            coalesce(stated_output_pixels, 0), coalesce(stated_file_search_calls, 0),
            coalesce(stated_code_sessions, 0), coalesce(stated_tool_calls, 0)
        ) as largest_count,
        greatest(
            coalesce(prompt_audio_seconds, 0), coalesce(prompt_video_seconds, 0),
            coalesce(output_audio_seconds, 0), coalesce(output_video_seconds, 0),
            coalesce(stated_storage_gibibyte_hours, 0), coalesce(stated_provisioned_unit_hours, 0)
        ) as longest_seconds
    from usage
),

summed as (
    select
        *,
        cache_write_5m + cache_write_30m + cache_write_1h + cache_write_12h as cache_write_known,
        greatest(
            {{ stated_count('cache_write_tokens') }},
            cache_write_5m + cache_write_30m + cache_write_1h + cache_write_12h
        ) as cache_write
    from counted
),

split as (
    select
        *,
        cache_write - cache_write_known as cache_write_unknown,
        input_total - cached_read - cache_write
        - input_audio - input_image - input_video - input_tool as input_text,
        output_total - reasoning - output_audio - output_image as output_text
    from summed
),

judged as (
    select
        *,
        input_text < 0
        or output_text < 0
        or input_audio_cached > cached_read as is_inclusion_mismatch,
        greatest(
            input_total, output_total, cached_read, cache_write, largest_count,
            coalesce(stated_requests, 0)
        ) >= {{ count_limit() }} as is_out_of_range,
        output_total > 0
        or coalesce(output_image_count, 0) > 0
        or coalesce(output_audio_seconds, 0) > 0
        or coalesce(output_video_seconds, 0) > 0 as has_output,
        greatest(input_total, output_total, largest_count) > 0
        or longest_seconds > 0 as has_positive_quantity
    from split
)

select * from judged
