-- Grain: one row per usage record of any gateway; a batch of several models has one per model.
-- Words of the gateways become the words of the contract here, and nowhere later.

with spend_logs as (
    select * from {{ ref('stg_litellm__spend_logs') }}
),

batch_usage as (
    select * from {{ ref('stg_litellm__batch_usage') }}
),

gateway_usage as (
    select * from {{ ref('stg_gateway__usage') }}
),

-- A call that LiteLLM forwards to OpenRouter is logged by both, under OpenRouter's id. Each side
-- touches the day of its own start, so only what started on one day is compared.
forwarded as (
    select
        request_id,
        cast(started_at as date) as usage_date,
        min(_gateway) as gateway
    from spend_logs
    where request_id like 'gen-%' and {{ in_touched_days('started_at') }}
    group by all
),

parts as (
    select
        spend_logs.* exclude (
            model, prompt_tokens, completion_tokens,
            {{ litellm_quantities() | join(',\n            ') }}
        ),
        spend_logs.model as logged_model,
        coalesce(batch_usage.batch_model, spend_logs.model) as model,
        {% for name in litellm_quantities() -%}
        case
            when batch_usage.batch_model is null then spend_logs.{{ name }}
            else batch_usage.{{ name }}
        end as {{ name }},
        {% endfor -%}
        -- The totals of the row are those of the whole batch.
        case
            when coalesce(spend_logs.batch_model_count, 1) <= 1 then spend_logs.prompt_tokens
        end as prompt_tokens,
        case
            when coalesce(spend_logs.batch_model_count, 1) <= 1 then spend_logs.completion_tokens
        end as completion_tokens,
        coalesce(batch_usage.part_number, 1) as part_number
    from spend_logs
    left join batch_usage
        on
            spend_logs.batch_model_count > 0
            and spend_logs._load_batch_id = batch_usage._load_batch_id
            and spend_logs._source_line = batch_usage._source_line
),

named as (
    select
        _gateway as gateway,
        request_id,
        started_at,
        coalesce(ended_at, started_at) as ended_at,
        api_key_id,
        part_number,
        greatest(coalesce(batch_model_count, 1), 1) as part_count,
        {{ litellm_call_family('call_type') }} as endpoint,
        lower(
            coalesce(nullif(custom_llm_provider, ''), {{ routing_prefix('model') }})
        ) as price_provider,
        model as price_model,
        model_group,
        call_type,
        lower(coalesce(billed_service_tier, usage_service_tier, usage_speed)) as stated_tier,
        coalesce(call_type in ('aretrieve_batch', 'retrieve_batch'), false)
        or coalesce(lower(usage_service_tier) = 'batch', false) as is_batch,
        lower(region) as region,
        coalesce(cache_hit, false) as cache_hit,
        coalesce(status, 'success') as status,
        -- The whole charge of a batch of several models stands on its first model.
        case when part_number = 1 then spend end as gateway_cost,
        -- What LiteLLM writes is its own reckoning by a price list, in US dollars.
        'USD' as logged_currency,
        'rule' as default_billed_basis,
        coalesce(usage_prompt_tokens, prompt_tokens) as prompt_tokens,
        coalesce(usage_completion_tokens, completion_tokens) as completion_tokens,
        * exclude (
            _gateway, request_id, started_at, ended_at, api_key_id, part_number, batch_model_count,
            model, model_group, call_type, region, cache_hit, status, spend, prompt_tokens,
            completion_tokens
        )
    from parts
),

observed as (
    select
        gateway_usage.*,
        forwarded.gateway as also_logged_by
    from gateway_usage
    left join forwarded
        on
            gateway_usage.gateway_preset = 'openrouter'
            and gateway_usage.request_id = forwarded.request_id
            and cast(gateway_usage.started_at as date) = forwarded.usage_date
),

mapped as (
    select
        gateway,
        gateway_preset,
        also_logged_by,
        request_id,
        started_at,
        ended_at,
        api_key_id,
        1 as part_number,
        1 as part_count,
        {{ gateway_call_family('endpoint') }} as endpoint,
        coalesce(provider, {{ routing_prefix('model') }}) as price_provider,
        upstream_provider,
        model as price_model,
        model as logged_model,
        model_group,
        stated_tier,
        is_batch or coalesce(stated_tier = 'batch', false) as is_batch,
        region,
        routing_mode,
        cache_hit,
        status,
        cast(http_status as varchar) as error_code,
        error_type as error_class,
        is_internal,
        is_byok,
        is_streaming as stated_is_streaming,
        latency_ms as request_duration_ms,
        retries as attempted_retries,
        fallbacks as attempted_fallbacks,
        fallback_from_model as original_model_group,
        trace_id as litellm_call_id,
        session_id,
        api_key_name,
        user_id,
        customer_id,
        customer_segment,
        team_id,
        team_name,
        project_id,
        organization_id,
        environment,
        workflow,
        cost_center,
        budget_owner,
        ticket,
        client_ip,
        user_agent,
        gateway_cost,
        gateway_provider_cost,
        logged_currency,
        default_billed_basis,
        has_usage,
        prompt_tokens,
        completion_tokens,
        cached_read_tokens as cached_tokens,
        cache_write_tokens,
        cache_write_5m_tokens,
        cache_write_30m_tokens,
        cache_write_1h_tokens,
        cache_write_12h_tokens,
        input_audio_tokens as prompt_audio_tokens,
        input_audio_cached_tokens as prompt_cached_audio_tokens,
        input_image_tokens as prompt_image_tokens,
        input_video_tokens as prompt_video_tokens,
        input_tool_tokens as tool_use_tokens,
        reasoning_tokens,
        output_audio_tokens as completion_audio_tokens,
        output_image_tokens as completion_image_tokens,
        {% for name in gateway_quantities() -%}
        {{ name }} as stated_{{ name }},
        {% endfor -%}
        input_characters as character_count,
        input_images as prompt_image_count,
        output_images as output_image_count,
        ocr_pages,
        rerank_searches as query_count,
        web_search_calls as web_search_requests,
        maps_grounding_calls as maps_grounding_requests,
        input_audio_seconds as prompt_audio_seconds,
        input_video_seconds as prompt_video_seconds,
        output_audio_seconds,
        output_video_seconds,
        _source,
        _load_batch_id,
        _source_file,
        _source_line,
        _row_hash
    from observed
),

-- By name: what one side does not know is null there.
together as (
    select * from named
    union all by name
    select * from mapped
),

tiered as (
    select
        * exclude (stated_tier),
        {{ service_tier_name('stated_tier') }} as service_tier
    from together
)

select * from tiered
