-- Grain: one row per vendor, invoice number and line of the newest version of the document.
-- A corrected document replaces the earlier one as a whole: their lines are never mixed.

with source as (
    select * from {{ source('invoices', 'invoices__lines') }}
),

{{ newest_invoice_lines() }},

renamed as (
    select
        vendor,
        invoice_number,
        line_no,
        coalesce(invoice_type, case when total < 0 then 'credit_note' else 'invoice' end)
            as invoice_type,
        issued_at,
        period_start,
        period_end,
        time_zone,
        currency,
        provider_account_id,
        subtotal,
        tax,
        credits_applied,
        total,
        coalesce(is_usage, coalesce(invoice_type, '') <> 'receipt') as is_usage,
        supersedes_invoice_number,
        approval_status,
        description,
        quantity,
        unit,
        unit_price,
        amount,
        tax_rate,
        line_kind,
        service_start,
        service_end,
        provider_project_id,
        api_key_id,
        model,
        service_tier,
        is_batch,
        dated_at,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
