-- Grain: one row per charge that may be disputed, with what should have been charged instead.
-- It bears the exception that raised it, and where there is none, a request whose cost is not the
-- expected one, a name of its own.

with exceptions as (
    select * from {{ ref('exceptions') }}
),

usage as (
    select * from {{ ref('int_usage__noted') }}
),

suspected as (
    select * from {{ ref('int_double_charges__suspected') }}
),

tokens as (
    select
        *,
        gateway || '/' || request_id as subject_id
    from {{ ref('int_token_mismatches__priced') }}
),

requests as (
    select * from {{ ref('request_reconciliation') }}
    where
        match_status = 'cost_mismatch'
        and cost_delta > 0
        -- Markup and contract prices are what was agreed.
        and likely_cause in ('gateway_price', 'other_price')
),

overcharges as (
    select
        account_id,
        billing_month,
        gateway,
        model,
        usage_date,
        sum(charged_amount) as charged_amount,
        sum(overcharged_amount) as overcharged_amount
    from {{ ref('int_cost_differences__daily') }}
    group by account_id, billing_month, gateway, model, usage_date
    having sum(overcharged_amount) > 0
),

of_failures as (
    select
        exceptions.exception_id,
        usage.gateway,
        usage.request_id,
        usage.started_at as occurred_at,
        'charged_failure' as reason,
        cast(0 as decimal(38, 18)) as expected_amount,
        exceptions.amount_at_stake as charged_amount
    from exceptions
    inner join usage on exceptions.subject_id = usage.usage_record_id
    where exceptions.exception_type = 'charged_failure'
),

of_equal_calls as (
    select
        exceptions.exception_id,
        suspected.gateway,
        suspected.request_id,
        suspected.started_at as occurred_at,
        'duplicate' as reason,
        cast(0 as decimal(38, 18)) as expected_amount,
        exceptions.amount_at_stake as charged_amount
    from exceptions
    inner join suspected on exceptions.subject_id = suspected.usage_record_id
    where exceptions.exception_type = 'suspected_double_charge'
),

-- Repetitions of an id may fall to several accounts; each claims its own.
of_ids as (
    select
        exceptions.exception_id,
        usage.gateway,
        usage.request_id,
        min(usage.started_at) as occurred_at,
        'duplicate' as reason,
        cast(0 as decimal(38, 18)) as expected_amount,
        max(exceptions.amount_at_stake) as charged_amount
    from exceptions
    inner join usage
        on
            exceptions.subject_id = usage.gateway || '/' || usage.request_id
            and exceptions.account_id = usage.account_id
            and usage.duplicate_of is not null
    where exceptions.exception_type = 'duplicate_request_id'
    group by exceptions.exception_id, usage.gateway, usage.request_id
),

of_tokens as (
    select
        exceptions.exception_id,
        tokens.gateway,
        tokens.request_id,
        tokens.occurred_at,
        'token_mismatch' as reason,
        tokens.billed_cost - tokens.difference_amount as expected_amount,
        tokens.billed_cost as charged_amount
    from exceptions
    inner join tokens on exceptions.subject_id = tokens.subject_id
    where
        exceptions.exception_type = 'token_mismatch'
        and coalesce(tokens.difference_amount > 0, true)
),

of_days as (
    select
        exceptions.exception_id,
        overcharges.gateway,
        cast(null as varchar) as request_id,
        cast(overcharges.usage_date as timestamp) as occurred_at,
        'price' as reason,
        overcharges.charged_amount - overcharges.overcharged_amount as expected_amount,
        overcharges.charged_amount
    from exceptions
    inner join overcharges
        on
            exceptions.account_id = overcharges.account_id
            and exceptions.billing_month = overcharges.billing_month
            and exceptions.subject_id
            = concat_ws(
                '/', overcharges.gateway, coalesce(overcharges.model, ''), overcharges.usage_date
            )
    where exceptions.exception_type = 'cost_mismatch'
),

of_exceptions as (
    select * from of_failures
    union all
    select * from of_equal_calls
    union all
    select * from of_ids
    union all
    select * from of_tokens
    union all
    select * from of_days
),

final as (
    select
        md5(concat_ws('|', 'dispute', of_exceptions.exception_id)) as dispute_id,
        of_exceptions.*,
        exceptions.account_id,
        exceptions.currency,
        exceptions.evidence,
        exceptions.decision_id as exception_decision_id
    from of_exceptions
    inner join exceptions on of_exceptions.exception_id = exceptions.exception_id
    union all
    select
        md5(concat_ws('|', 'dispute', 'price', gateway, request_id)) as dispute_id,
        cast(null as varchar) as exception_id,
        gateway,
        request_id,
        occurred_at,
        'price' as reason,
        expected_cost as expected_amount,
        billed_cost as charged_amount,
        account_id,
        currency,
        'select * from marts.request_reconciliation where side = ''app'' and gateway = '
        || {{ as_literal('gateway') }}
        || ' and request_id = ' || {{ as_literal('request_id') }} as evidence,
        cast(null as varchar) as exception_decision_id
    from requests
)

select * from final
