-- Grain: one row per usage record; quantities in disjoint units (contract, table T9).
-- A cache hit repeats the counts of the call it replays; it used nothing.

with usage as (
    select * from {{ ref('int_usage__split') }}
),

stated as (
    select
        *,
        -- 0 none, 1 measured, null unknown: what every quantity below is multiplied with.
        case
            when cache_hit or is_bookkeeping then 0
            when is_inclusion_mismatch or is_out_of_range then null
            when has_positive_quantity then 1
            when has_usage and coalesce(gateway_cost, 0) = 0 then 0
            when status = 'failure' then 0
        end as stated
    from usage
),

measured as (
    select
        * exclude (
            {{ litellm_quantities() | join(',\n            ') }},
            {% for name in gateway_quantities() -%}
            stated_{{ name }},
            {% endfor -%}
            cache_write_5m, cache_write_30m, cache_write_1h, cache_write_12h, cache_write_known,
            cache_write, cache_write_unknown, cached_read, input_audio, input_audio_cached,
            input_image, input_video, input_tool, reasoning, output_audio, output_image, input_text,
            output_text, input_total, output_total, prompt_tokens, completion_tokens,
            largest_count, longest_seconds
        ),
        stated * input_total as input_total_tokens,
        stated * output_total as output_total_tokens,
        stated * case when endpoint in ('embedding', 'moderation') then 0 else input_text end
            as input_text_uncached_tokens,
        stated * (cached_read - input_audio_cached) as input_cached_read_tokens,
        stated * cache_write_5m as input_cache_write_5m_tokens,
        stated * cache_write_30m as input_cache_write_30m_tokens,
        stated * cache_write_1h as input_cache_write_1h_tokens,
        stated * cache_write_12h as input_cache_write_12h_tokens,
        stated * cache_write_unknown as input_cache_write_unknown_ttl_tokens,
        stated * input_audio as input_audio_tokens,
        stated * input_audio_cached as input_audio_cached_tokens,
        stated * input_image as input_image_tokens,
        stated * input_video as input_video_tokens,
        stated * input_tool as input_tool_tokens,
        stated * output_text as output_text_tokens,
        stated * reasoning as output_reasoning_tokens,
        stated * output_audio as output_audio_tokens,
        stated * output_image as output_image_tokens,
        stated * case when endpoint = 'embedding' then input_text else 0 end as embedding_tokens,
        stated * case when endpoint = 'moderation' then input_text else 0 end as moderation_tokens,
        stated * coalesce(prompt_audio_seconds, 0) as input_audio_seconds,
        stated * coalesce(output_audio_seconds, 0) as output_audio_seconds,
        stated * coalesce(prompt_video_seconds, 0) as input_video_seconds,
        stated * coalesce(output_video_seconds, 0) as output_video_seconds,
        stated * coalesce(character_count, 0) as input_characters,
        stated * coalesce(stated_output_characters, 0) as output_characters,
        stated * coalesce(prompt_image_count, 0) as input_images,
        stated * coalesce(output_image_count, 0) as output_images,
        stated * coalesce(stated_input_pixels, 0) as input_pixels,
        stated * coalesce(stated_output_pixels, 0) as output_pixels,
        stated * coalesce(ocr_pages, 0) as ocr_pages,
        stated * coalesce(query_count, 0) as rerank_searches,
        stated * coalesce(web_search_requests, 0) as web_search_calls,
        stated * coalesce(stated_file_search_calls, 0) as file_search_calls,
        stated * coalesce(maps_grounding_requests, 0) as maps_grounding_calls,
        stated * coalesce(
            stated_code_sessions, case when call_type in ('run_code', 'arun_code') then 1 else 0 end
        ) as code_sessions,
        coalesce(
            stated * stated_tool_calls, case when endpoint = 'tool' then 1 else 0 end
        ) as tool_calls,
        -- Status polls, file contents and routing classifiers are calls, not requests; a batch of
        -- several models was one.
        case
            when is_bookkeeping or internal_call_origin is not null or part_number > 1 then 0
            -- A gateway that reports sums says how many calls a record stands for.
            else least(coalesce(stated_requests, 1), {{ count_limit() }})
        end as requests,
        stated * coalesce(stated_storage_gibibyte_hours, 0) as storage_gibibyte_hours,
        stated * coalesce(stated_provisioned_unit_hours, 0) as provisioned_unit_hours
    from stated
)

select * from measured
