-- Grain: one row per source that brought nothing for three of its intervals.
-- At stake is what an hour of its last 7 days cost on average, for every whole hour beyond. It is
-- booked on the account to which most of that went.

with freshness as (
    select * from {{ ref('source_freshness') }}
    where status = 'stale'
),

usage as (
    select * from {{ ref('usage_records') }}
    where duplicate_of is null
),

spent as (
    select
        freshness.source,
        usage.account_id,
        usage.currency,
        sum(usage.billed_cost) as billed_cost
    from freshness
    inner join usage
        on
            freshness.source = usage.source
            and freshness.last_loaded_at - interval 7 day < usage.started_at
            and freshness.last_loaded_at >= usage.started_at
    group by freshness.source, usage.account_id, usage.currency
),

largest as (
    select *
    from spent
    qualify row_number() over (
        partition by source
        order by billed_cost desc nulls last, account_id asc, currency asc
    ) = 1
),

described as (
    select
        coalesce(largest.account_id, 'unassigned') as account_id,
        strftime({{ as_of() }}, '%Y-%m') as billing_month,
        coalesce(largest.currency, 'USD') as currency,
        -- An estimate of what nobody has seen yet, so a mean may be rounded.
        cast(
            cast(largest.billed_cost / 168 as decimal(24, 12))
            * date_diff('hour', freshness.next_due_at, {{ as_of() }}) as decimal(38, 18)
        ) as amount_at_stake,
        'source' as subject_type,
        freshness.source as subject_id,
        cast(freshness.last_loaded_at as varchar) as evidence_keys,
        'select * from marts.source_freshness where source = '
        || {{ as_literal('freshness.source') }} as evidence
    from freshness
    left join largest on freshness.source = largest.source
),

final as (
    select
        {{ exception_columns(
            type='source_stale',
            severity='error',
            is_blocking=true,
            suggested_action='Find out why the source brings nothing: `tollbook doctor` tries its connection.'
        ) }}
    from described
)

select * from final
