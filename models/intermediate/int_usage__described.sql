-- Grain: one row per usage record, with its ids and the contract's words for how it went.

with usage as (
    select * from {{ ref('int_usage__priced') }}
),

identified as (
    select
        *,
        gateway || '/' || request_id || '/' || cast(occurrence as varchar) as usage_record_id,
        case
            when duplicate_of_occurrence is not null
                then gateway || '/' || request_id || '/' || cast(duplicate_of_occurrence as varchar)
            -- Two gateways' observations of one call are never added up.
            when also_logged_by is not null then also_logged_by || '/' || request_id || '/1'
        end as duplicate_of,
        {{ provider_name('price_provider') }} as provider,
        {{ without_routing_prefix('price_model', 'price_provider') }} as model,
        {{ band_name('context_above_tokens') }} as context_band,
        -- A billed earlier attempt of a chain carries its number, from 0, in its id.
        try_cast(
            nullif(regexp_extract(request_id, '-attempt-([0-9]{1,9})$', 1), '') as bigint
        ) as attempts_before,
        least(coalesce(attempted_retries, 0), 1000000) as retries,
        least(coalesce(attempted_fallbacks, 0), 1000000) as fallbacks
    from usage
),

described as (
    select
        * exclude (attempts_before, retries, fallbacks),
        coalesce(attempts_before, retries + fallbacks) + 1 as attempt,
        case
            when fallbacks > 0 and original_model_group <> model_group then original_model_group
        end as fallback_from_model,
        case
            when gateway_preset is not null then stated_is_streaming
            when endpoint not in ('chat', 'messages', 'responses', 'generate_content') then false
            when completion_started_at is null then null
            else completion_started_at < ended_at
        end as is_streaming,
        try_cast(error_code as bigint) as http_status,
        case
            when gateway_preset is not null then request_duration_ms
            else coalesce(
                request_duration_ms,
                greatest(0, date_diff('millisecond', started_at, ended_at))
            )
        end as latency_ms,
        case
            when cache_hit then 'copied_from_cache'
            when is_billed_retry_attempt then 'estimated'
            when status = 'failure' and has_output then 'partial_stream'
            when status = 'failure' and input_total_tokens > 0 then 'estimated'
            when stated is null then 'absent'
            when has_usage then 'observed'
            when has_positive_quantity then 'total_only'
            else 'absent'
        end as usage_status,
        {{ defect_codes() }} as defect_codes
    from identified
)

select * from described
