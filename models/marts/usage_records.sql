{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per gateway, request id and occurrence.

with priced as (
    select * from {{ ref('int_usage__priced') }}
),

ended as (
    select
        *,
        gateway || '/' || request_id || '/' || cast(occurrence as varchar) as usage_record_id,
        case
            when duplicate_of_occurrence is not null
                then gateway || '/' || request_id || '/' || cast(duplicate_of_occurrence as varchar)
        end as duplicate_of,
        try_cast(error_code as bigint) as http_status,
        regexp_extract(request_id, '-attempt-([0-9]+)$', 1) as attempt_suffix,
        {{ defect_codes() }} as defect_codes
    from priced
),

final as (
    select
        gateway,
        request_id,
        cast(occurrence as bigint) as occurrence,
        usage_record_id,
        'unassigned' as account_id,
        {{ provider_name('price_provider') }} as provider_account_id,
        started_at,
        ended_at,
        cast(started_at as date) as usage_date,
        cast(started_at as date) as billing_date,
        strftime(started_at, '%Y-%m') as billing_month,
        {{ provider_name('price_provider') }} as provider,
        {{ without_routing_prefix('price_model', 'price_provider') }} as model,
        logged_model,
        model_group,
        endpoint,
        call_type,
        has_output,
        service_tier,
        is_batch,
        case
            when endpoint not in ('chat', 'messages', 'responses', 'generate_content') then false
            when completion_started_at is null then null
            else completion_started_at < ended_at
        end as is_streaming,
        cast(null as varchar) as routing_mode,
        region,
        {{ band_name('context_above_tokens') }} as context_band,
        status,
        http_status,
        error_class as error_type,
        coalesce(request_duration_ms, greatest(0, date_diff('millisecond', started_at, ended_at))) as latency_ms,
        cache_hit,
        case
            when attempt_suffix <> '' then cast(attempt_suffix as bigint) + 1
            else coalesce(attempted_retries, 0) + coalesce(attempted_fallbacks, 0) + 1
        end as attempt,
        case
            when attempted_fallbacks > 0 and original_model_group <> model_group
                then original_model_group
        end as fallback_from_model,
        litellm_call_id as trace_id,
        session_id,
        api_key_id,
        api_key_name,
        user_id,
        customer_id,
        customer_segment,
        team_id,
        team_name,
        coalesce(project_id, tagged_project_id) as project_id,
        organization_id,
        environment,
        workflow,
        cost_center,
        budget_owner,
        ticket,
        case when team_id is not null or cost_center is not null then 'record' else 'none' end
            as owner_resolution,
        {% for unit in usage_units() -%}
        cast({{ unit.name }} as {{ unit_type(unit) }}) as {{ unit.name }},
        {% endfor -%}
        cast(input_total_tokens as bigint) as input_total_tokens,
        cast(output_total_tokens as bigint) as output_total_tokens,
        cast(null as bigint) as max_output_tokens,
        case when is_batch then batch_successful_requests end as response_count,
        case when endpoint in ('image_generation', 'image_edit') then cast(output_images as bigint) end
            as accepted_outputs,
        cast(null as varchar) as image_quality,
        cast(null as varchar) as image_size,
        cast(null as varchar) as video_resolution,
        cast(gateway_cost as decimal(38, 18)) as gateway_cost,
        list_cost,
        list_cost as provider_cost,
        list_cost as billed_cost,
        'USD' as currency,
        cast(0 as decimal(18, 6)) as markup_rate,
        case when used_client_oauth_token then 'subscription' else 'managed' end as billing_mode,
        {{ provider_name('price_provider') }} as payee,
        cost_status,
        case
            when cache_hit then 'copied_from_cache'
            when status = 'failure' and has_output then 'partial_stream'
            when is_billed_retry_attempt then 'estimated'
            when status = 'failure' and input_total_tokens > 0 then 'estimated'
            when stated is null then 'absent'
            when has_usage then 'observed'
            when has_positive_quantity then 'total_only'
            else 'absent'
        end as usage_status,
        unpriced_unit,
        price_set_id,
        price_snapshot_id,
        cast(null as varchar) as contract_price_id,
        duplicate_of,
        defect_codes,
        client_ip,
        user_agent,
        _load_batch_id as load_batch_id,
        _source as source,
        _source_file as source_file,
        _source_line as source_line
    from ended
)

select * from final
