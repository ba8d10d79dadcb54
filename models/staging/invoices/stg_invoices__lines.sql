-- Grain: one row per vendor, invoice number and line of the newest version of the document.
-- A corrected document replaces the earlier one as a whole: their lines are never mixed.

with source as (
    select * from {{ source('invoices', 'invoices__lines') }}
),

newest_version as (
    select
        vendor,
        invoice_number,
        arg_max(
            version_hash, (coalesce(issued_at, dated_at), observed_at, version_hash)
        ) as version_hash
    from source
    group by vendor, invoice_number
),

newest as (
    select source.*
    from source
    inner join newest_version
        on
            source.vendor = newest_version.vendor
            and source.invoice_number = newest_version.invoice_number
            and source.version_hash = newest_version.version_hash
    qualify row_number() over (
        partition by source.vendor, source.invoice_number, source.line_no
        order by source._row_hash, source._load_batch_id
    ) = 1
),

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
