-- Grain: one row per invoice that was refused because its amounts do not add up.

with refused as (
    select refused.*
    from {{ source('audit', 'refused_invoices') }} as refused
    -- An entry that a person had forgotten, to try the file again, takes its invoices with it.
    inner join {{ source('audit', 'load_batches') }} as batches
        on refused.load_batch_id = batches.load_batch_id
    where refused.reason_code = 'invoice_total_mismatch'
),

accepted as (
    select * from {{ ref('stg_invoices__invoices') }}
),

outstanding as (
    select
        refused.vendor,
        refused.invoice_number,
        max(refused.currency) as currency,
        max(refused.dated_at) as dated_at,
        max(abs(refused.computed_amount - refused.stated_amount)) as difference_amount
    from refused
    left join accepted
        on
            refused.vendor = accepted.vendor
            and refused.invoice_number = accepted.invoice_number
    -- A corrected file settles it.
    where accepted.invoice_number is null
    group by refused.vendor, refused.invoice_number
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
