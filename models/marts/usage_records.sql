{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per gateway, request id and occurrence.

with usage as (
    select *
    from {{ ref('int_usage__billed') }}
    where {{ in_touched_days('started_at') }}
),

final as (
    select
        gateway,
        request_id,
        cast(occurrence as bigint) as occurrence,
        usage_record_id,
        account_id,
        provider_account_id,
        started_at,
        ended_at,
        cast(started_at as date) as usage_date,
        billing_date,
        strftime(billing_date, '%Y-%m') as billing_month,
        provider,
        model,
        logged_model,
        model_group,
        endpoint,
        call_type,
        has_output,
        service_tier,
        is_batch,
        is_streaming,
        routing_mode,
        region,
        context_band,
        status,
        http_status,
        error_class as error_type,
        latency_ms,
        cache_hit,
        attempt,
        fallback_from_model,
        litellm_call_id as trace_id,
        session_id,
        api_key_id,
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
        owner_resolution,
        is_batch_allowed,
        allowed_service_tiers,
        {% for unit in usage_units() -%}
        cast({{ unit.name }} as {{ unit_type(unit) }}) as {{ unit.name }},
        {% endfor -%}
        cast(input_total_tokens as bigint) as input_total_tokens,
        cast(output_total_tokens as bigint) as output_total_tokens,
        cast(null as bigint) as max_output_tokens,
        -- The answers of a batch of several models stand on its first model, as its charge does.
        case when is_batch and part_number = 1 then batch_successful_requests end as response_count,
        case
            when endpoint in ('image_generation', 'image_edit') then cast(output_images as bigint)
        end as accepted_outputs,
        cast(null as varchar) as image_quality,
        cast(null as varchar) as image_size,
        cast(null as varchar) as video_resolution,
        cast(logged_cost as decimal(38, 18)) as logged_cost,
        coalesce(logged_currency, 'USD') as logged_currency,
        fx_rate,
        cast(gateway_cost as decimal(38, 18)) as gateway_cost,
        cast(gateway_provider_cost as decimal(38, 18)) as gateway_provider_cost,
        expected_gateway_cost,
        list_cost,
        provider_cost,
        billed_cost,
        currency,
        markup_rate,
        fixed_fee,
        billing_mode,
        billed_basis,
        payee,
        cost_status,
        usage_status,
        unpriced_unit,
        price_set_id,
        price_snapshot_id,
        contract_price_id,
        contract_price_set_id,
        contract_fx_rate,
        duplicate_of,
        defect_codes,
        client_ip,
        user_agent,
        _load_batch_id as load_batch_id,
        _source as source,
        _source_file as source_file,
        _source_line as source_line
    from usage
)

select * from final
