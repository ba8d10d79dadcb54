-- Grain: one row per provider or vendor, line item that no pattern knows, currency and month.

with costs as (
    select * from {{ ref('int_provider_costs__unified') }}
    where not is_mapped
),

invoice_lines as (
    select * from {{ ref('int_invoice_lines__mapped') }}
    where not is_mapped
),

together as (
    select
        provider,
        line_item,
        currency,
        strftime(provider_date, '%Y-%m') as billing_month,
        amount,
        'intermediate.int_provider_costs__unified' as evidence_table,
        'provider' as party_column,
        'line_item' as item_column
    from costs
    union all
    select
        vendor as provider,
        description as line_item,
        currency,
        strftime(to_date - 1, '%Y-%m') as billing_month,
        amount,
        'intermediate.int_invoice_lines__mapped' as evidence_table,
        'vendor' as party_column,
        'description' as item_column
    from invoice_lines
),

grouped as (
    select
        provider,
        line_item,
        currency,
        billing_month,
        sum(abs(amount)) as amount_at_stake,
        cast(count(*) as varchar) as evidence_keys,
        min(evidence_table) as evidence_table,
        min(party_column) as party_column,
        min(item_column) as item_column
    from together
    group by provider, line_item, currency, billing_month
),

described as (
    select
        -- A provider's bill is nobody's alone until its usage is found.
        'unassigned' as account_id,
        *,
        'line_item' as subject_type,
        provider || '/' || line_item as subject_id,
        'select * from ' || evidence_table || ' where not is_mapped and ' || party_column || ' = '
        || {{ as_literal('provider') }}
        || ' and ' || item_column || ' = ' || {{ as_literal('line_item') }} as evidence
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
