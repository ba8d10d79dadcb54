{{ config(meta={'rows_need': ['int_invoice_lines__mapped']}) }}
-- Grain: one row per line of an invoice or credit note that bills usage and stands, and one with
-- line_no NULL per part of its header that no line carries.
-- variance_amount is billed less expected; each cause is the change of what is expected when it is
-- corrected, on top of those before it, and unexplained is what is left.

with lines as (
    select * from {{ ref('int_invoice_lines__mapped') }}
),

subscriptions as (
    select * from {{ ref('subscriptions') }}
),

markup_rules as (
    select * from {{ ref('markup_rules') }}
),

decisions as (
    select
        subject_id,
        max_by(decision_id, (decided_at, decision_id)) as decision_id,
        max_by(decision, (decided_at, decision_id)) as decision
    from {{ ref('stg_decisions__decisions') }}
    where
        subject_type in ('invoice', 'invoice_line')
        and decision in ('approve', 'write_off', 'dispute', 'reject')
    group by subject_id
),

facing as (
    select * from {{ ref('int_invoice_lines__faced') }}
),

{{ explaining_steps() }},

slices as (
    select
        invoice_line_id,
        sum(utc_quantity) filter (where unit is distinct from 'requests') as quantity_expected,
        count(distinct coalesce(unit, our_unit)) as units,
        sum(utc_amount) as amount_expected,
        sum(fx_amount) as fx_amount,
        sum(time_zone_amount) as time_zone_amount,
        sum(period_straddle_amount) as period_straddle_amount,
        {% for cause in causes_by_slice() -%}
        sum({{ cause }}_amount) as {{ cause }}_amount,
        {% endfor -%}
        min(provider) as provider,
        min(rounding_amount) as rounding_limit,
        bool_or(has_slices) as has_slices,
        bool_or(has_quantity) as has_quantity,
        bool_and(is_key_known) as is_key_known,
        bool_or(is_of_project) as is_of_project,
        bool_or(vendor_unit_price is not null and unit_price is not null) as has_prices
    from explained
    group by invoice_line_id
),

-- A line of commitment is held against the subscription it names, or whose amount it is.
usage_totals as (
    select
        vendor,
        invoice_number,
        sum(amount) as usage_amount
    from lines
    where line_kind = 'usage'
    group by vendor, invoice_number
),

commitments as (
    select
        lines.invoice_line_id,
        case
            when
                subscriptions.amount <> lines.amount
                and subscriptions.minimum_commitment - coalesce(usage_totals.usage_amount, 0) > 0
                and abs(
                    subscriptions.minimum_commitment - coalesce(usage_totals.usage_amount, 0)
                    - lines.amount
                ) <= 0.01
                then subscriptions.minimum_commitment - coalesce(usage_totals.usage_amount, 0)
            else subscriptions.amount
        end as commitment_amount
    from lines
    left join usage_totals
        on
            lines.vendor = usage_totals.vendor
            and lines.invoice_number = usage_totals.invoice_number
    inner join subscriptions
        on
            lines.line_kind = 'commitment'
            and lines.currency = subscriptions.currency
            and (
                subscriptions.provider_account_id is null
                or lines.provider_account_id = subscriptions.provider_account_id
            )
            and lines.from_date < coalesce(subscriptions.valid_to_date, date '9999-12-31')
            and lines.to_date > subscriptions.valid_from_date
            and (
                lines.amount = subscriptions.amount
                or contains(lower(lines.description), lower(subscriptions.description))
                or abs(
                    subscriptions.minimum_commitment - coalesce(usage_totals.usage_amount, 0) - lines.amount
                ) <= 0.01
            )
    qualify row_number() over (
        partition by lines.invoice_line_id
        order by
            lines.amount = subscriptions.amount desc,
            contains(lower(lines.description), lower(subscriptions.description)) desc,
            subscriptions.subscription_id asc
    ) = 1
),

attributed as (
    select
        lines.*,
        slices.quantity_expected,
        slices.units,
        coalesce(slices.amount_expected, 0) as amount_expected,
        {% for name in ["tax", "fee", "credit"] -%}
        case when lines.line_kind = '{{ name }}' then lines.amount else 0 end as {{ name }}_amount,
        {% endfor -%}
        {% for name in ["fx", "time_zone", "period_straddle"] + causes_by_slice() -%}
        coalesce(slices.{{ name }}_amount, 0) as {{ name }}_amount,
        {% endfor -%}
        coalesce(commitments.commitment_amount, 0) as commitment_amount,
        coalesce(slices.rounding_limit, {{ half_minor_unit('lines.currency') }}) as rounding_limit,
        coalesce(slices.has_slices, false) as has_slices,
        coalesce(slices.has_quantity, false) as has_quantity,
        slices.is_key_known,
        coalesce(slices.is_of_project, false) as is_of_project,
        coalesce(slices.has_prices, false) as has_prices
    from lines
    left join slices on lines.invoice_line_id = slices.invoice_line_id
    left join commitments on lines.invoice_line_id = commitments.invoice_line_id
),

reduced as (
    select
        *,
        cast(
            amount - amount_expected
            {%- for cause in variance_causes() if cause not in ("markup", "rounding", "unexplained") %}
            - {{ cause }}_amount
            {%- endfor %} as decimal(38, 18)
        ) as left_amount
    from attributed
),

-- A rest that is a rule's rate on all that is expected by now is its markup. Of a line of cents any
-- rest is some rate, so for it the rate must hold for every line of usage of the document; one that
-- holds for all of them is also the better reason than an old price that one of them fits.
markable as (
    select
        reduced.invoice_line_id,
        reduced.vendor,
        reduced.invoice_number,
        reduced.rounding_limit,
        reduced.service_tier_amount,
        reduced.price_version_amount,
        reduced.left_amount + reduced.price_version_amount as rest_amount,
        reduced.amount - reduced.left_amount - reduced.price_version_amount as base_amount,
        markup_rules.rule_id,
        markup_rules.markup_rate
    from reduced
    inner join markup_rules
        on
            reduced.line_kind = 'usage'
            and reduced.gateway is null
            and markup_rules.markup_rate > 0
            and (markup_rules.provider is null or reduced.provider = markup_rules.provider)
            and reduced.from_date < coalesce(markup_rules.valid_to_date, date '9999-12-31')
            and reduced.to_date > markup_rules.valid_from_date
),

rates as (
    select
        * exclude (markup_rate),
        {{ converted('base_amount', 'markup_rate') }} as markup_amount
    from markable
    where base_amount <> 0 and service_tier_amount = 0
),

documents as (
    select
        vendor,
        invoice_number,
        rule_id
    from rates
    group by vendor, invoice_number, rule_id
    having
        bool_and(abs(rest_amount - markup_amount) <= rounding_limit + 0.000000001)
        and bool_or(price_version_amount = 0 and abs(rest_amount) > rounding_limit)
),

marked_up as (
    select
        rates.invoice_line_id,
        rates.markup_amount,
        rates.price_version_amount
    from rates
    left join documents
        on
            rates.vendor = documents.vendor
            and rates.invoice_number = documents.invoice_number
            and rates.rule_id = documents.rule_id
    where
        documents.rule_id is not null
        or (
            rates.price_version_amount = 0
            and abs(rates.rest_amount) > 10 * rates.rounding_limit
            and abs(rates.rest_amount - rates.markup_amount)
            <= rates.rounding_limit + 0.000000001
        )
    qualify row_number() over (
        partition by rates.invoice_line_id
        order by
            documents.rule_id is null asc,
            abs(rates.rest_amount - rates.markup_amount) asc,
            rates.rule_id asc
    ) = 1
),

rested as (
    select
        reduced.* exclude (left_amount, price_version_amount),
        cast(
            reduced.price_version_amount - coalesce(marked_up.price_version_amount, 0)
            as decimal(38, 18)
        ) as price_version_amount,
        cast(
            reduced.left_amount + coalesce(marked_up.price_version_amount, 0) as decimal(38, 18)
        ) as left_amount,
        coalesce(marked_up.markup_amount, 0) as markup_amount
    from reduced
    left join marked_up on reduced.invoice_line_id = marked_up.invoice_line_id
),

rounded as (
    select
        *,
        case
            when abs(left_amount - markup_amount) <= rounding_limit
                then left_amount - markup_amount
            -- Sums of rounded lines may miss the total by as many half units.
            when line_part = 'rounding' then left_amount
            else 0
        end as rounding_amount
    from rested
),

settled as (
    select
        rounded.*,
        rounded.amount - rounded.amount_expected as variance_amount,
        rounded.left_amount - rounded.markup_amount - rounded.rounding_amount
            as unexplained_amount,
        coalesce(of_line.decision_id, of_invoice.decision_id) as decision_id,
        coalesce(of_line.decision, of_invoice.decision) as decision
    from rounded
    left join decisions as of_line on rounded.invoice_line_id = of_line.subject_id
    left join decisions as of_invoice
        on rounded.vendor || '/' || rounded.invoice_number = of_invoice.subject_id
),

final as (
    select
        vendor,
        invoice_number,
        line_no,
        line_part,
        invoice_line_id,
        currency,
        provider,
        provider_account_id,
        from_date,
        to_date,
        line_kind,
        description,
        model,
        unit,
        quantity as quantity_invoiced,
        case when units = 1 then cast(quantity_expected as decimal(26, 6)) end
            as quantity_expected,
        amount as amount_invoiced,
        cast(amount_expected as decimal(38, 18)) as amount_expected,
        cast(variance_amount as decimal(38, 18)) as variance_amount,
        {% for cause in variance_causes() -%}
        cast({{ cause }}_amount as decimal(38, 18)) as {{ cause }}_amount,
        {% endfor -%}
        case
            when line_kind <> 'usage' then 'account'
            when is_of_project then 'project'
            when has_quantity then 'account'
            else 'amount_only'
        end as match_level,
        case
            when line_kind = 'usage'
                then time_zone_amount = 0 and period_straddle_amount = 0 and late_usage_amount = 0
        end as pass_time_window,
        case
            when line_kind = 'usage'
                then
                    has_slices and coalesce(is_key_known, true)
                    and missing_usage_amount = 0 and bypass_traffic_amount = 0
        end as pass_owner_key,
        case
            when line_kind = 'usage' and has_prices
                then
                    price_version_amount = 0 and service_tier_amount = 0
                    and context_band_amount = 0 and unit_mismatch_amount = 0
                    and unpriced_amount = 0 and markup_amount = 0
                    and abs(unexplained_amount) <= {{ var('invoice_tolerance') }}
        end as pass_unit_price,
        case
            when decision_id is not null then decision in ('approve', 'write_off')
            when abs(unexplained_amount) > {{ var('invoice_tolerance') }} then false
        end as pass_decision,
        decision_id,
        case
            when decision in ('approve', 'write_off') then 'accepted'
            when decision in ('dispute', 'reject') then 'disputed'
            when line_kind = 'usage' and not is_mapped then 'unmapped'
            when abs(variance_amount) <= {{ var('invoice_tolerance') }} then 'matched'
            when abs(unexplained_amount) <= {{ var('invoice_tolerance') }} then 'explained'
            else 'unexplained'
        end as status
    from settled
)

select * from final
