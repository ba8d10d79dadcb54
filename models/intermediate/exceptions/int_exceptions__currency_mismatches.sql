-- Grain: one row per account, source, currency it states amounts in, and billing month of which the
-- seed fx_rates lacks a rate into the account's currency.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where
        duplicate_of is null
        and (
            (fx_rate is null and (logged_cost <> 0 or list_cost is null))
            -- An amount that could not be converted, for there is no rate from its currency.
            or (logged_cost <> 0 and gateway_cost is null)
        )
),

grouped as (
    select
        account_id,
        billing_month,
        source,
        -- The amount is in the currency it was stated in: there is no rate into another.
        logged_currency as currency,
        currency as account_currency,
        sum(abs(logged_cost)) as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(distinct cast(usage_date as varchar), ',' order by cast(usage_date as varchar))
            as evidence_keys
    from usage
    group by account_id, billing_month, source, logged_currency, currency
),

described as (
    select
        *,
        'source_currency' as subject_type,
        source || '/' || currency as subject_id,
        'select * from marts.usage_records where (fx_rate is null or gateway_cost is null) '
        || 'and logged_currency = ' || {{ as_literal('currency') }} || ' and billing_month = '
        || {{ as_literal('billing_month') }}
        || ' and account_id = ' || {{ as_literal('account_id') }}
        || ' and source = ' || {{ as_literal('source') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='currency_mismatch',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Add the exchange rates of these days to the seed fx_rates.'
        ) }}
    from described
)

select * from final
