{#- Quantities besides tokens that a mapping may name, as table T9 does. -#}
{% macro gateway_quantities() -%}
    {{ return([
        "input_characters", "output_characters", "input_images", "output_images", "input_pixels",
        "output_pixels", "ocr_pages", "rerank_searches", "web_search_calls", "file_search_calls",
        "maps_grounding_calls", "code_sessions", "tool_calls", "requests", "input_audio_seconds",
        "output_audio_seconds", "input_video_seconds", "output_video_seconds",
        "storage_gibibyte_hours", "provisioned_unit_hours",
    ]) }}
{%- endmacro %}

{#- Which of several observations of one attempt counts: that of the source preferred by
    source_priority, one of a call that is over, then the newest. Never by arrival. -#}
{% macro newest_gateway_observation(source) -%}
    coalesce({{ source }}.source_priority, 0) desc,
            {{ source }}.status is not distinct from 'pending',
            {{ source }}.source_version_at desc nulls last,
            {{ source }}.observed_at desc nulls last,
            {{ source }}._row_hash desc
{%- endmacro %}

{#- What a call is for, from a gateway's word, path or address for it. -#}
{% macro gateway_call_family(column) -%}
    {%- set word = "regexp_replace(lower(" ~ column ~ "), '^https?://[^/]*', '')" -%}
    case
        when {{ word }} like '%embed%' then 'embedding'
        when {{ word }} like '%moderation%' then 'moderation'
        when {{ word }} like '%rerank%' then 'rerank'
        when {{ word }} like '%transcription%' then 'transcription'
        when {{ word }} like '%speech%' then 'speech'
        when {{ word }} like '%image%edit%' then 'image_edit'
        when {{ word }} like '%image%' then 'image_generation'
        when {{ word }} like '%video%' then 'video_generation'
        when {{ word }} like '%realtime%' then 'realtime'
        when {{ word }} like '%response%' then 'responses'
        when {{ word }} like '%message%' then 'messages'
        when {{ word }} like '%generate_content%' or {{ word }} like '%generatecontent%' then 'generate_content'
        when {{ word }} like '%completion%' or {{ word }} like '%chat%' then 'chat'
        when {{ word }} like '%tool%' then 'tool'
        else 'other'
    end
{%- endmacro %}
