-- Grain: one row per account, key, tier that its owner map does not list, and UTC day. Where it
-- lists none, standard and batch are usual.
-- At stake is what the calls cost more than on the standard tier.

with grouped as (
    select * from {{ ref('int_service_tiers__unusual') }}
),

described as (
    select
        *,
        'key_tier_day' as subject_type,
        coalesce(api_key_id, '') || '/' || used_tier || '/' || cast(usage_date as varchar)
            as subject_id,
        {{ records_with(['account_id', 'billing_month', 'api_key_id', 'usage_date']) }}
        || ' and '
        || case when used_tier = 'batch' then 'is_batch' else 'not is_batch and service_tier = ' end
        || case when used_tier = 'batch' then '' else {{ as_literal('used_tier') }} end as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='unusual_service_tier',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='List the tier in allowed_service_tiers of the owner map, or stop it.'
        ) }}
    from described
)

select * from final
