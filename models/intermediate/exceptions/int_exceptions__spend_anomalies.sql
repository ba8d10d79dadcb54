-- Grain: one row per account, model or team, and UTC day of spend above the band of days before.
-- The band: median and deviation of the last 8 same weekdays, or of the last 14 days where fewer
-- than 4 are known. Days without spend are no values; fewer than 4 values are no band.

with daily as (
    select * from {{ ref('daily_spend') }}
),

series as (
    {% for subject, column in [["model", "model"], ["team", "team_id"]] -%}
    select
        account_id,
        currency,
        '{{ subject }}' as subject_kind,
        '{{ column }}' as subject_column,
        {{ column }} as subject,
        usage_date,
        sum(billed_cost) as billed_cost
    from daily
    group by account_id, currency, {{ column }}, usage_date
    {{ "union all" if not loop.last }}
    {% endfor %}
),

remembered as (
    select
        *,
        list(billed_cost) over (
            partition by account_id, currency, subject_kind, subject, dayofweek(usage_date)
            order by usage_date
            rows between 8 preceding and 1 preceding
        ) as weekdays_before,
        list(billed_cost) over (
            partition by account_id, currency, subject_kind, subject
            order by usage_date
            range between interval 14 day preceding and interval 1 day preceding
        ) as days_before
    from series
    -- A day of failures that cost nothing is a day without spend.
    where billed_cost <> 0
),

chosen as (
    select
        *,
        case
            when len(weekdays_before) >= 4 then weekdays_before
            when len(days_before) >= 4 then days_before
        end as values_before
    from remembered
    -- Below this in the account's currency nobody wants to be asked.
    where billed_cost > 5
),

-- Medians are drawn by hand: DuckDB halves what lies between two values in binary.
sorted as (
    select
        *,
        list_sort(values_before) as ordered
    from chosen
    where values_before is not null
),

middled as (
    select
        *,
        {{ middle_of('ordered') }} as middle
    from sorted
),

apart as (
    select
        *,
        list_sort(list_transform(ordered, lambda known: abs(known - middle))) as distances
    from middled
),

deviating as (
    select
        *,
        {{ middle_of('distances') }} as deviation
    from apart
),

bounded as (
    select
        *,
        -- 4.4478 is three times 1.4826, which makes a deviation of the median a standard one.
        cast(
            middle + greatest(
                {{ converted('deviation', 'cast(4.4478 as decimal(18, 12))') }},
                {{ converted('middle', 'cast(0.2 as decimal(18, 12))') }}
            ) as decimal(38, 18)
        ) as upper_band
    from deviating
),

described as (
    select
        account_id,
        strftime(usage_date, '%Y-%m') as billing_month,
        currency,
        billed_cost - upper_band as amount_at_stake,
        subject_kind || '_day' as subject_type,
        subject_kind || '/' || coalesce(subject, '') || '/' || cast(usage_date as varchar)
            as subject_id,
        cast(usage_date as timestamp) as evidence_at,
        cast(upper_band as varchar) as evidence_keys,
        'select * from marts.daily_spend where account_id = ' || {{ as_literal('account_id') }}
        || ' and usage_date = ' || {{ as_literal('cast(usage_date as varchar)') }}
        || ' and ' || subject_column || coalesce(' = ' || {{ as_literal('subject') }}, ' is null')
            as evidence
    from bounded
    where billed_cost > upper_band
),

final as (
    select
        {{ exception_columns(
            type='spend_anomaly',
            severity='info',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='See what was new on that day: a launch, a loop, or a leaked key.'
        ) }}
    from described
)

select * from final
