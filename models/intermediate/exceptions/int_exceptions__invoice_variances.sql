-- Grain: one row per invoice line and cause that makes it differ by more than the tolerance; taxes,
-- fees and roundings are as they must be, and what is unexplained is an invoice_line_unmatched.

with lines as (
    select * from {{ ref('invoice_reconciliation') }}
),

accounts as (
    select * from {{ ref('int_provider_accounts__owned') }}
),

{%- set causes = [] %}
{%- for cause in variance_causes() if cause not in ("tax", "fee", "rounding", "unexplained") %}
{%- do causes.append(cause) %}
{%- endfor %}

caused as (
    {% for cause in causes -%}
    select
        invoice_line_id,
        coalesce(provider_account_id, vendor) as provider_account_id,
        currency,
        to_date,
        '{{ cause }}' as cause,
        {{ cause }}_amount as cause_amount
    from lines
    where abs({{ cause }}_amount) > {{ var('invoice_tolerance') }}
    {{ "union all" if not loop.last }}
    {% endfor %}
),

described as (
    select
        coalesce(accounts.account_id, 'unassigned') as account_id,
        strftime(caused.to_date - 1, '%Y-%m') as billing_month,
        caused.currency,
        abs(caused.cause_amount) as amount_at_stake,
        'invoice_line_cause' as subject_type,
        caused.invoice_line_id || '/' || caused.cause as subject_id,
        cast(caused.cause_amount as varchar) as evidence_keys,
        'select * from marts.invoice_reconciliation where invoice_line_id = '
        || {{ as_literal('caused.invoice_line_id') }} as evidence
    from caused
    left join accounts on caused.provider_account_id = accounts.provider_account_id
),

final as (
    select
        {{ exception_columns(
            type='invoice_variance',
            severity='warning',
            is_blocking=false,
            suggested_action='Correct the cause here, or claim the amount back from the vendor.'
        ) }}
    from described
)

select * from final
