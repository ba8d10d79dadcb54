{{ config(
    materialized='table',
    meta={'rows_need': ['stg_anthropic__usage', 'stg_openai__usage']}
) }}
-- Grain: one row per source, provider, UTC day, project, key, model, unit, service tier and batch.
-- What providers say was used, in the units of the contract; a quantity of 0 is no row.

{% set openai_units = [
    "input_text_uncached_tokens", "input_cached_read_tokens", "input_cache_write_30m_tokens",
    "input_cache_write_12h_tokens", "input_cache_write_unknown_ttl_tokens", "input_audio_tokens",
    "input_audio_cached_tokens", "input_image_tokens", "output_text_tokens", "output_audio_tokens",
    "output_image_tokens", "embedding_tokens", "moderation_tokens", "input_audio_seconds",
    "input_characters", "output_images", "web_search_calls", "file_search_calls", "code_sessions",
    "storage_gibibyte_hours", "requests",
] -%}
{% set anthropic_units = [
    "input_text_uncached_tokens", "input_cached_read_tokens", "input_cache_write_5m_tokens",
    "input_cache_write_1h_tokens", "output_text_tokens", "web_search_calls", "tool_calls",
] -%}
{% set dimensions = [
    "source", "provider", "provider_date", "provider_project_id", "provider_api_key_id", "model",
    "service_tier", "is_batch", "is_complete", "observed_at",
] -%}

with openai as (
    select * from {{ ref('stg_openai__usage') }}
),

anthropic as (
    select * from {{ ref('stg_anthropic__usage') }}
),

openai_units as (
    select units.unit
    from (
        values
        {% for unit in openai_units -%}
        ('{{ unit }}'){{ "," if not loop.last }}
        {% endfor -%}
    ) as units (unit)
),

anthropic_units as (
    select units.unit
    from (
        values
        {% for unit in anthropic_units -%}
        ('{{ unit }}'){{ "," if not loop.last }}
        {% endfor -%}
    ) as units (unit)
),

from_openai as (
    select
        {% for name in dimensions -%}
        openai.{{ name }},
        {% endfor -%}
        openai_units.unit,
        case openai_units.unit
            {% for unit in openai_units -%}
            when '{{ unit }}' then cast(openai.{{ unit }} as decimal(26, 6))
            {% endfor -%}
        end as quantity,
        -- What could not be taken apart stays visible as an unknown quantity.
        openai.has_token_mismatch
        and openai_units.unit in ('input_text_uncached_tokens', 'output_text_tokens') as is_split
    from openai
    cross join openai_units
),

from_anthropic as (
    select
        {% for name in dimensions -%}
        anthropic.{{ name }},
        {% endfor -%}
        anthropic_units.unit,
        case anthropic_units.unit
            {% for unit in anthropic_units -%}
            when '{{ unit }}' then cast(anthropic.{{ unit }} as decimal(26, 6))
            {% endfor -%}
        end as quantity,
        false as is_split
    from anthropic
    cross join anthropic_units
),

stated as (
    select * from from_openai
    where quantity <> 0 or (quantity is null and is_split)
    union all
    select * from from_anthropic
    where quantity <> 0
),

summed as (
    select
        source,
        provider,
        provider_date,
        provider_project_id,
        provider_api_key_id,
        model,
        unit,
        service_tier,
        is_batch,
        cast(sum(quantity) as decimal(26, 6)) as quantity,
        count(*) - count(quantity) as unknown_results,
        bool_and(is_complete) as is_complete,
        max(observed_at) as observed_at
    from stated
    group by
        source, provider, provider_date, provider_project_id, provider_api_key_id, model, unit,
        service_tier, is_batch
)

select * from summed
