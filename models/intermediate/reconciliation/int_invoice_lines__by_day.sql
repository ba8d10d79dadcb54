{{ config(materialized='table', meta={'rows_need': ['int_invoice_lines__mapped']}) }}
-- Grain: one row per invoice line, model, unit, tier and batch of which the provider states usage
-- day by day: what its days lack and why, as far as quantities are evidence of it. A month may hide
-- what a day shows: a lost call on one day and a repeated one on another.

with claimed as (
    select
        invoice_line_id,
        provider_account_id,
        model,
        unit,
        service_tier,
        is_batch,
        segment_date
    from {{ ref('int_invoice_lines__claimed') }}
    where basis = 'stated' and usage_class like 'usage%'
    group by all
),

-- A day of a slice that two lines share is evidence for neither.
alone as (
    select
        provider_account_id,
        model,
        unit,
        service_tier,
        is_batch,
        min(invoice_line_id) as invoice_line_id
    from (
        select
            *,
            max(line_count) over (
                partition by provider_account_id, model, unit, service_tier, is_batch, invoice_line_id
            ) as most_lines
        from (
            select
                *,
                count(*) over (
                    partition by
                        provider_account_id, model, unit, service_tier, is_batch, segment_date
                ) as line_count
            from claimed
        )
    )
    where most_lines = 1
    group by provider_account_id, model, unit, service_tier, is_batch, invoice_line_id
),

lines as (
    select
        invoice_line_id,
        currency,
        from_date,
        to_date
    from {{ ref('int_invoice_lines__mapped') }}
    where line_part = 'line' and line_kind = 'usage'
),

days as (
    select * from {{ ref('provider_reconciliation') }}
    where usage_quantity is not null and variance_amount is not null
),

summed as (
    select
        alone.invoice_line_id,
        alone.model,
        alone.unit,
        alone.service_tier,
        alone.is_batch,
        cast(sum(days.usage_quantity) as decimal(26, 6)) as usage_quantity,
        cast(coalesce(sum(days.gateway_quantity), 0) as decimal(26, 6)) as gateway_quantity,
        bool_and(days.is_final) as is_final,
        bool_or(
            {%- for cause in causes_by_slice() if cause not in causes_by_day() %}
            days.{{ cause }}_amount <> 0 or
            {%- endfor %} days.time_zone_amount <> 0
        ) as has_other_causes,
        {% for cause in causes_by_day() -%}
        cast(sum(days.{{ cause }}_amount) as decimal(38, 18)) as {{ cause }}_amount
        {{- "," if not loop.last }}
        {% endfor %}
    from alone
    inner join lines on alone.invoice_line_id = lines.invoice_line_id
    inner join days
        on
            alone.provider_account_id = days.provider_account_id
            and alone.model = days.model
            and alone.unit = days.unit
            and alone.service_tier = days.service_tier
            and alone.is_batch = days.is_batch
            and lines.currency = days.currency
            and days.provider_date >= lines.from_date
            and days.provider_date < lines.to_date
    group by
        alone.invoice_line_id, alone.model, alone.unit, alone.service_tier, alone.is_batch
)

select * from summed
where is_final and not has_other_causes
