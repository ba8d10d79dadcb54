-- Grain: one row per review that is due: every week and every month of an account with usage, and
-- every event that asks for one, with what it is about.
-- Weeks begin as reporting.week_starts says. A month's review ends with its close, an event's with a decision.

{#- (kind of exception, what it starts) -#}
{%- set events = [
    ("budget_threshold", "quota_threshold"),
    ("fallback_route", "route_change"),
    ("unusual_service_tier", "route_change"),
    ("low_balance", "wallet_movement"),
    ("negative_balance", "wallet_movement"),
    ("unmatched_topup", "wallet_movement"),
] %}

with days as (
    select * from {{ ref('int_chargeback__days') }}
),

periods as (
    select * from {{ ref('periods') }}
),

exceptions as (
    select * from {{ ref('exceptions') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
    where entry_type in ('purchase', 'refund', 'dispute_hold', 'expiry') and origin <> 'opening'
),

weeks as (
    select
        account_id,
        currency,
        {{ week_start_date('billing_date') }} as from_date,
        sum(billed_cost) as amount
    from days
    group by all
),

reviews as (
    select
        'weekly' as review_kind,
        account_id,
        cast(from_date + interval 7 day as date) as due_date,
        'Spend of the week from ' || cast(from_date as varchar) as started_by,
        'week' as subject_type,
        account_id || '/' || cast(from_date as varchar) || '/' || currency as subject_id,
        amount,
        currency,
        'due' as status
    from weeks
    union all
    select
        'month_end' as review_kind,
        account_id,
        cast(cast(billing_month || '-01' as date) + interval 1 month as date) as due_date,
        'Close of ' || billing_month || ', '
        || cast(blocking_exceptions as varchar) || ' blocking exceptions' as started_by,
        'period' as subject_type,
        account_id || '/' || billing_month as subject_id,
        billed_cost as amount,
        currency,
        case status when 'closed' then 'done' else 'due' end as status
    from periods
    union all
    select
        case exception_type
            {% for type, kind in events -%}
            when '{{ type }}' then '{{ kind }}'
            {% endfor -%}
        end as review_kind,
        account_id,
        -- The month is all an exception says of its time.
        cast(billing_month || '-01' as date) as due_date,
        exception_type || ': ' || subject_id as started_by,
        'exception' as subject_type,
        exception_id as subject_id,
        amount_at_stake as amount,
        currency,
        case status when 'decided' then 'done' else 'due' end as status
    from exceptions
    where
        exception_type in (
            {%- for type, _ in events %}
            '{{ type }}'{{ "," if not loop.last }}
            {%- endfor %}
        )
    union all
    select
        'wallet_movement' as review_kind,
        account_id,
        cast(occurred_at as date) as due_date,
        entry_type || ' of wallet ' || wallet_id as started_by,
        'wallet_entry' as subject_type,
        entry_id as subject_id,
        amount,
        currency,
        'due' as status
    from ledger
),

final as (
    select
        md5(concat_ws('|', review_kind, account_id, due_date, subject_id)) as review_id,
        review_kind,
        account_id,
        due_date,
        started_by,
        subject_type,
        subject_id,
        cast(amount as decimal(38, 18)) as amount,
        currency,
        status
    from reviews
)

select * from final
