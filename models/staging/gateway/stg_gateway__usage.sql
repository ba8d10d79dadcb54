-- Grain: one row per billable attempt of a gateway that is read by a mapping (gateway, request id,
-- start, key). Of several observations the newest counts, of two sources that of higher priority;
-- a call still under way gives way to what it became.
-- Totals include their parts here, whatever the gateway writes.

with contested as (
    select * from {{ source('gateway', 'gateway__contested_requests') }}
),

-- The table is named twice, for one shared CTE would be read whole whatever days are asked for.
landed_once as (
    select source.*
    from {{ source('gateway', 'gateway__usage') }} as source
    left join contested
        on source._gateway = contested._gateway and source.request_id = contested.request_id
    where contested.request_id is null
),

newest as (
    select source.*
    from {{ source('gateway', 'gateway__usage') }} as source
    inner join contested
        on source._gateway = contested._gateway and source.request_id = contested.request_id
    qualify row_number() over (
        partition by source._gateway, source.request_id, source.started_at, source.api_key_id
        order by {{ newest_gateway_observation('source') }}
    ) = 1
),

unified as (
    select * from landed_once
    union all
    select * from newest
),

counted as (
    select
        *,
        {{ stated_count('cached_read_tokens') }} + greatest(
            {{ stated_count('cache_write_tokens') }},
            {{ stated_count('cache_write_5m_tokens') }}
            + {{ stated_count('cache_write_30m_tokens') }}
            + {{ stated_count('cache_write_1h_tokens') }}
            + {{ stated_count('cache_write_12h_tokens') }}
        ) as cache_tokens
    from unified
),

renamed as (
    select
        -- identifiers
        _gateway as gateway,
        preset as gateway_preset,
        request_id,
        api_key_id,
        trace_id,
        session_id,

        -- what was called
        endpoint,
        lower(nullif(provider, '')) as provider,
        lower(nullif(upstream_provider, '')) as upstream_provider,
        model,
        coalesce(model_group, model) as model_group,
        lower(service_tier) as stated_tier,
        coalesce(is_batch, false) as is_batch,
        lower(region) as region,
        routing_mode,
        fallback_from_model,

        -- how it went
        coalesce(status, 'success') as status,
        http_status,
        error_type,
        coalesce(cache_hit, false) as cache_hit,
        coalesce(is_internal, false) as is_internal,
        coalesce(is_byok, false) as is_byok,
        is_streaming,
        case
            when latency_ms is null and ended_at >= started_at
                then date_diff('millisecond', started_at, ended_at)
            else latency_ms
        end as latency_ms,
        coalesce(retries, attempt - 1) as retries,
        coalesce(fallbacks, case when fallback_from_model is not null then 1 end) as fallbacks,

        -- owners
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

        -- amounts
        charge as gateway_cost,
        coalesce(charge_currency, provider_charge_currency, 'USD') as logged_currency,
        -- One record, one currency: a rate shown in another cannot stand beside the charge.
        case
            when coalesce(charge_currency, provider_charge_currency) = provider_charge_currency
                then provider_charge
        end as gateway_provider_cost,
        case when is_estimate then 'rule' else 'charge' end as default_billed_basis,

        -- tokens
        case
            when input_tokens is null or coalesce(input_includes_cached, true) then input_tokens
            else {{ stated_count('input_tokens') }} + cache_tokens
        end as prompt_tokens,
        case
            when output_tokens is null or coalesce(output_includes_reasoning, true)
                then output_tokens
            else {{ stated_count('output_tokens') }} + {{ stated_count('reasoning_tokens') }}
        end as completion_tokens,
        cached_read_tokens,
        cache_write_tokens,
        cache_write_5m_tokens,
        cache_write_30m_tokens,
        cache_write_1h_tokens,
        cache_write_12h_tokens,
        input_audio_tokens,
        input_audio_cached_tokens,
        input_image_tokens,
        input_video_tokens,
        input_tool_tokens,
        reasoning_tokens,
        output_audio_tokens,
        output_image_tokens,

        -- other quantities
        {{ gateway_quantities() | join(',\n        ') }},
        coalesce(
            input_tokens, output_tokens, cached_read_tokens, total_tokens,
            {{ gateway_quantities() | join(',\n            ') }}
        ) is not null as has_usage,

        -- times
        started_at,
        coalesce(
            ended_at, started_at + latency_ms * interval 1 millisecond, started_at
        ) as ended_at,

        -- lineage
        _source,
        _load_batch_id,
        _source_file,
        _source_line,
        _row_hash
    from counted
)

select * from renamed
