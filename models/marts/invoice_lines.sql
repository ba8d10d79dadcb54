-- Grain: one row per vendor, invoice number and line (contract, table T3).

with lines as (
    select * from {{ ref('stg_invoices__lines') }}
),

final as (
    select
        vendor,
        invoice_number,
        line_no,
        description,
        quantity,
        unit,
        unit_price,
        amount,
        currency,
        tax_rate,
        line_kind,
        service_start,
        service_end,
        provider_account_id,
        provider_project_id,
        api_key_id,
        model,
        service_tier,
        is_batch,
        is_usage,
        cast(null as decimal(38, 18)) as variance_amount,
        case when is_usage then 'not_reconciled' else 'not_applicable' end
            as reconciliation_status,
        approval_status
    from lines
)

select * from final
