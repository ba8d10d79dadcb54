{{ config(materialized='view') }}
-- Grain: one row per usage record: what an auditor may see of it, never its content.

with usage as (
    select * from {{ ref('usage_records') }}
),

final as (
    select
        usage_record_id,
        gateway,
        request_id,
        occurrence,
        started_at,
        ended_at,
        usage_date,
        provider,
        model,
        endpoint,
        status,
        http_status,
        error_type,
        latency_ms,
        is_streaming,
        cache_hit,
        api_key_id,
        api_key_name,
        team_id,
        user_id,
        customer_id,
        input_total_tokens,
        output_total_tokens,
        input_cached_read_tokens,
        output_reasoning_tokens,
        gateway_cost,
        list_cost,
        provider_cost,
        billed_cost,
        currency,
        cost_status,
        client_ip,
        user_agent,
        source,
        source_file,
        source_line
    from usage
)

select * from final
