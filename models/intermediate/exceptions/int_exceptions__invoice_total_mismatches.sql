-- Grain: one row per invoice that was refused because its amounts do not add up.

with refused as (
    select * from {{ ref('stg_invoices__refused') }}
),

accepted as (
    select * from {{ ref('stg_invoices__invoices') }}
),

outstanding as (
    select refused.*
    from refused
    left join accepted
        on
            refused.vendor = accepted.vendor
            and refused.invoice_number = accepted.invoice_number
    -- A corrected file settles it.
    where accepted.invoice_number is null
),

described as (
    select
        'unassigned' as account_id,
        strftime(dated_at, '%Y-%m') as billing_month,
        currency,
        difference_amount as amount_at_stake,
        'invoice' as subject_type,
        vendor || '/' || invoice_number as subject_id,
        'refused' as evidence_keys,
        'select * from audit.refused_invoices where vendor = ' || {{ as_literal('vendor') }}
        || ' and invoice_number = ' || {{ as_literal('invoice_number') }} as evidence
    from outstanding
),

final as (
    select
        {{ exception_columns(
            type='invoice_total_mismatch',
            severity='error',
            is_blocking=true,
            suggested_action='Ask the vendor for a corrected invoice and drop its file.'
        ) }}
    from described
)

select * from final
