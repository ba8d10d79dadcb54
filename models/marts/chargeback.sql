-- Grain: one row per billing month, account, cost center, team, project, environment, provider,
-- model and currency (contract, section 6).
-- A closed month is what was frozen of it, digit for digit; an open one is computed.

with ruled as (
    select
        *,
        -- A subscription that names its cost center is nobody else's.
        cost_kind = 'usage'
        or (cost_kind = 'subscription' and cost_center is not null) as is_direct
    from {{ ref('int_shared_costs__ruled') }}
),

targets as (
    select distinct
        account_id,
        billing_month,
        pool,
        rule_id,
        targets_on_date,
        true as is_spread
    from {{ ref('int_shared_costs__targets') }}
),

allocated as (
    select * from {{ ref('int_shared_costs__allocated') }}
),

adjustments as (
    select * from {{ ref('chargeback_adjustments') }}
),

closed as (
    select * from {{ ref('int_periods__closed') }}
),

frozen as (
    select * from {{ ref('stg_closes__rows') }}
),

arisen as (
    select
        ruled.account_id,
        ruled.billing_month,
        {% for name in chargeback_dimensions() -%}
        ruled.{{ name }},
        {% endfor -%}
        ruled.currency,
        ruled.is_direct,
        case
            when not ruled.is_direct then null
            when targets.is_spread and ruled.amount is not null then 0
            else ruled.amount
        end as direct_cost,
        case when not ruled.is_direct then ruled.amount end as shared_cost,
        cast(null as decimal(38, 18)) as adjustments,
        -- A cost that nobody caused alone, and that no rule gives to anybody.
        case when not ruled.is_direct then 'unallocated' end as allocation_rule,
        ruled.requests,
        ruled.unpriced_requests,
        ruled.unpriced_gateway_cost
    from ruled
    left join targets
        on
            ruled.account_id = targets.account_id
            and ruled.billing_month = targets.billing_month
            and ruled.pool = targets.pool
            and ruled.rule_id = targets.rule_id
            and ruled.targets_on_date = targets.targets_on_date
    where ruled.is_direct or targets.is_spread is null
),

parts as (
    select * from arisen
    union all by name
    select
        account_id,
        billing_month,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        false as is_direct,
        shared_cost,
        rule_id as allocation_rule
    from allocated
    where shared_cost <> 0
    union all by name
    select
        adjustments.account_id,
        adjustments.billing_month,
        {% for name in chargeback_dimensions() -%}
        adjustments.{{ name }},
        {% endfor -%}
        adjustments.currency,
        false as is_direct,
        adjustments.amount as adjustments,
        adjustments.requests,
        adjustments.unpriced_requests,
        adjustments.unpriced_gateway_cost
    from adjustments
    inner join closed
        on
            adjustments.account_id = closed.account_id
            and adjustments.billing_month = closed.open_month
),

computed as (
    select
        account_id,
        billing_month,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        case when bool_or(is_direct) then sum(direct_cost) else 0 end as direct_cost,
        coalesce(sum(shared_cost), 0) as shared_cost,
        coalesce(sum(adjustments), 0) as adjustments,
        string_agg(distinct allocation_rule, ',' order by allocation_rule) as allocation_rule,
        coalesce(sum(requests), 0) as requests,
        coalesce(sum(unpriced_requests), 0) as unpriced_requests,
        sum(unpriced_gateway_cost) as unpriced_gateway_cost
    from parts
    group by
        account_id,
        billing_month,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency
),

charged as (
    select
        *,
        'open' as period_status,
        cast(null as varchar) as packet_sha256
    from computed
    union all by name
    select
        rows_of_close.account_id,
        rows_of_close.billing_month,
        {% for name in chargeback_dimensions() -%}
        rows_of_close.{{ name }},
        {% endfor -%}
        rows_of_close.currency,
        rows_of_close.direct_cost,
        rows_of_close.shared_cost,
        rows_of_close.adjustments,
        rows_of_close.allocation_rule,
        rows_of_close.requests,
        rows_of_close.unpriced_requests,
        rows_of_close.unpriced_gateway_cost,
        'closed' as period_status,
        periods.packet_sha256
    from frozen as rows_of_close
    inner join frozen as periods
        on rows_of_close.close_id = periods.close_id and periods.row_type = 'period'
    where rows_of_close.row_type = 'chargeback'
),

final as (
    select
        billing_month,
        account_id,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        cast(direct_cost as decimal(38, 18)) as direct_cost,
        cast(shared_cost as decimal(38, 18)) as shared_cost,
        cast(adjustments as decimal(38, 18)) as adjustments,
        cast(
            case
                when direct_cost is null and shared_cost = 0 and adjustments = 0 then null
                else coalesce(direct_cost, 0) + shared_cost + adjustments
            end as decimal(38, 18)
        ) as total_cost,
        allocation_rule,
        cast(requests as bigint) as requests,
        cast(unpriced_requests as bigint) as unpriced_requests,
        cast(unpriced_gateway_cost as decimal(38, 18)) as unpriced_gateway_cost,
        period_status,
        packet_sha256
    from charged
)

select * from final
