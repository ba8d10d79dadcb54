-- Grain: one row per charge that may be, is or was disputed, with the decision about it and the
-- moment an answer is due. What is approved is none, unless it was disputed before.

with claims as (
    select * from {{ ref('int_disputes__claimed') }}
),

decisions as (
    select * from {{ ref('stg_decisions__decisions') }}
    where decision in ('dispute', 'approve', 'write_off', 'reject')
),

accounts as (
    select * from {{ ref('accounts') }}
),

-- About the dispute, about its exception, or about all exceptions of a month.
addressed as (
    select
        claims.dispute_id,
        decisions.*
    from claims
    inner join decisions
        on decisions.subject_type = 'dispute' and claims.dispute_id = decisions.subject_id
    union all
    select
        claims.dispute_id,
        decisions.*
    from claims
    inner join decisions
        on decisions.subject_type = 'exception' and claims.exception_id = decisions.subject_id
    -- A dispute stays one whatever becomes of the evidence; the rest is about what was seen.
    where decisions.decision = 'dispute' or claims.exception_decision_id = decisions.decision_id
    union all
    select
        claims.dispute_id,
        decisions.*
    from claims
    inner join decisions
        on
            decisions.subject_type = 'exception_type'
            and claims.exception_decision_id = decisions.decision_id
),

-- An amount in bulk is that of all of them. arg_max passes over what is null.
stated as (
    select
        *,
        case when decision = 'dispute' and subject_type <> 'exception_type' then amount end
            as stated_amount,
        case when decision = 'dispute' and amount is not null then coalesce(currency, '') end
            as stated_currency
    from addressed
),

decided as (
    select
        dispute_id,
        arg_max(decision, (decided_at, decision_id)) as decision,
        arg_max(decision_id, (decided_at, decision_id)) as decision_id,
        min(case when decision = 'dispute' then decided_at end) as opened_at,
        arg_max(stated_amount, (decided_at, decision_id)) as stated_amount,
        arg_max(stated_currency, (decided_at, decision_id)) as stated_currency
    from stated
    group by dispute_id
),

claimed as (
    select
        claims.*,
        decided.decision,
        decided.decision_id,
        decided.opened_at,
        case
            when coalesce(decided.stated_currency, '') in ('', claims.currency)
                then coalesce(
                    decided.stated_amount, claims.charged_amount - claims.expected_amount
                )
            else claims.charged_amount - claims.expected_amount
        end as claimed_amount,
        (decided.opened_at at time zone 'UTC') at time zone coalesce(accounts.time_zone, 'UTC')
            as opened_locally_at,
        accounts.wallet_id,
        coalesce(accounts.time_zone, 'UTC') as time_zone
    from claims
    left join decided on claims.dispute_id = decided.dispute_id
    left join accounts on claims.account_id = accounts.account_id
    -- An approved charge is right; one that was disputed before is a dispute given up.
    where coalesce(decided.decision, '') <> 'approve' or decided.opened_at is not null
),

due as (
    select
        *,
        {{ working_days_after('opened_locally_at', var('dispute_business_days')) | indent(8) }}
            as due_locally_at
    from claimed
),

final as (
    select
        * exclude (exception_decision_id, opened_locally_at, due_locally_at, time_zone),
        (due_locally_at at time zone time_zone) at time zone 'UTC' as due_at
    from due
)

select * from final
