{#- Quantity columns of raw.litellm__spend_logs that a batch states per model as well. -#}
{% macro litellm_quantities() -%}
    {{ return([
        "usage_prompt_tokens", "usage_completion_tokens", "cached_tokens", "cache_write_tokens",
        "output_image_count", "ocr_pages", "prompt_text_tokens", "prompt_audio_tokens",
        "prompt_cached_audio_tokens", "prompt_image_tokens", "prompt_video_tokens",
        "tool_use_tokens", "web_search_requests", "maps_grounding_requests", "character_count",
        "prompt_image_count", "query_count", "cache_write_5m_tokens", "cache_write_30m_tokens",
        "cache_write_1h_tokens", "cache_write_12h_tokens", "reasoning_tokens",
        "completion_text_tokens", "completion_audio_tokens", "completion_image_tokens",
        "prompt_audio_seconds", "prompt_video_seconds", "output_audio_seconds",
        "output_video_seconds",
    ]) }}
{%- endmacro %}

{#- What a call is for, from LiteLLM's call type: sync and async twins share one word. -#}
{% macro litellm_call_family(column) -%}
    case
        when {{ column }} in ('completion', 'acompletion', 'text_completion', 'atext_completion') then 'chat'
        when {{ column }} in ('anthropic_messages', 'aanthropic_messages') then 'messages'
        when {{ column }} in ('responses', 'aresponses', '_aresponses_websocket') then 'responses'
        when {{ column }} in ('generate_content', 'agenerate_content', 'generate_content_stream', 'agenerate_content_stream') then 'generate_content'
        when {{ column }} in ('embedding', 'aembedding') then 'embedding'
        when {{ column }} in ('image_generation', 'aimage_generation') then 'image_generation'
        when {{ column }} in ('image_edit', 'aimage_edit') then 'image_edit'
        when {{ column }} in ('speech', 'aspeech') then 'speech'
        when {{ column }} in ('transcription', 'atranscription') then 'transcription'
        when {{ column }} in ('moderation', 'amoderation') then 'moderation'
        when {{ column }} in ('rerank', 'arerank') then 'rerank'
        when {{ column }} in ('ocr', 'aocr') then 'ocr'
        when {{ column }} in ('search', 'asearch') then 'search'
        when {{ column }} in ('video_generation', 'avideo_generation', 'create_video', 'acreate_video') then 'video_generation'
        when {{ column }} in ('realtime', '_arealtime', 'arealtime') then 'realtime'
        when {{ column }} in ('retrieve_batch', 'aretrieve_batch') then 'batch'
        when {{ column }} like '%pass_through%' or {{ column }} like '%passthrough%' then 'pass_through'
        when {{ column }} in ('call_mcp_tool', 'acall_mcp_tool') then 'tool'
        when {{ column }} like '%file%' then 'files'
        else 'other'
    end
{%- endmacro %}

{#- Calls that read back, list or cancel: nothing is bought, and they are no requests. -#}
{% macro is_litellm_bookkeeping(column) -%}
    coalesce(
        {{ column }} in (
            'get_responses', 'aget_responses', 'delete_responses', 'adelete_responses',
            'cancel_responses', 'acancel_responses', 'list_input_items', 'alist_input_items',
            'list_batches', 'alist_batches', 'cancel_batch', 'acancel_batch',
            'file_content', 'afile_content', 'file_list', 'afile_list', 'file_retrieve',
            'afile_retrieve', 'file_delete', 'afile_delete', 'create_file', 'acreate_file',
            'video_status', 'avideo_status', 'video_content', 'avideo_content', 'health_check',
            'ahealth_check'
        ),
        false
    )
{%- endmacro %}

{#- A count as stated, 0 where it is not, cut off where it is no quantity any more (see
    count_limit), so that no sum of several can overflow. -#}
{% macro stated_count(column) -%}
    least(coalesce({{ column }}, 0), {{ count_limit() }})
{%- endmacro %}
