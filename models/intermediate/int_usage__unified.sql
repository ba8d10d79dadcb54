-- Grain: one row per usage record of any gateway; a batch of several models has one per model.
-- Words of the gateways become the words of the contract here, and nowhere later.

with spend_logs as (
    select * from {{ ref('stg_litellm__spend_logs') }}
),

batch_usage as (
    select * from {{ ref('stg_litellm__batch_usage') }}
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
        coalesce(usage_prompt_tokens, prompt_tokens) as prompt_tokens,
        coalesce(usage_completion_tokens, completion_tokens) as completion_tokens,
        * exclude (
            _gateway, request_id, started_at, ended_at, api_key_id, part_number, batch_model_count,
            model, model_group, call_type, region, cache_hit, status, spend, prompt_tokens,
            completion_tokens
        )
    from parts
),

tiered as (
    select
        * exclude (stated_tier),
        {{ service_tier_name('stated_tier') }} as service_tier
    from named
)

select * from tiered
