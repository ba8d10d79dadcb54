-- Grain: one row per provider, line item that no pattern knows, currency and month.

with costs as (
    select * from {{ ref('int_provider_costs__unified') }}
    where not is_mapped
),

grouped as (
    select
        provider,
        line_item,
        currency,
        strftime(provider_date, '%Y-%m') as billing_month,
        sum(abs(amount)) as amount_at_stake,
        cast(count(*) as varchar) as evidence_keys
    from costs
    group by provider, line_item, currency, strftime(provider_date, '%Y-%m')
),

described as (
    select
        -- A provider's bill is nobody's alone until its usage is found.
        'unassigned' as account_id,
        *,
        'line_item' as subject_type,
        provider || '/' || line_item as subject_id,
        'select * from intermediate.int_provider_costs__unified where not is_mapped'
        || ' and provider = ' || {{ as_literal('provider') }}
        || ' and line_item = ' || {{ as_literal('line_item') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='unmapped_line_item',
            severity='error',
            is_blocking=true,
            suggested_action='Say in seeds/provider_line_items.csv what this line stands for.'
        ) }}
    from described
)

select * from final
