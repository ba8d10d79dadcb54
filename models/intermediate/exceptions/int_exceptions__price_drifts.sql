-- Grain: one row per account, billing month, provider, model, unit, tier and batch for which
-- catalogs in force together quote prices further apart than pricing.catalog_disagreement.
-- At stake is what was used on such days, in months that are not closed, at the difference.

with disagreements as (
    select * from {{ ref('int_prices__disagreeing') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
    where base_currency = 'USD'
),

daily as (
    select * from {{ ref('daily_spend') }} as spend
    where exists (
        select 1 from disagreements
        where spend.provider = disagreements.provider and spend.model = disagreements.model
    )
),

used as (
    {% for unit in usage_units() -%}
    select
        usage_date,
        account_id,
        currency,
        provider,
        model,
        service_tier,
        is_batch,
        '{{ unit.name }}' as unit,
        cast(sum({{ unit.name }}) as decimal(20, 6)) as quantity
    from daily
    where {{ unit.name }} > 0
    group by usage_date, account_id, currency, provider, model, service_tier, is_batch
    {{ "union all" if not loop.last }}
    {% endfor %}
),

apart as (
    select
        used.*,
        max(disagreements.price_difference) as price_difference,
        max(disagreements.price_ids) as price_ids
    from used
    inner join disagreements
        on
            used.provider = disagreements.provider
            and used.model = disagreements.model
            and used.unit = disagreements.unit
            and used.service_tier = disagreements.service_tier
            and used.is_batch = disagreements.is_batch
            and used.usage_date < disagreements.valid_to_at
            and used.usage_date + interval 1 day > disagreements.valid_from_at
    group by all
),

open_usage as (
    select
        apart.*,
        strftime(apart.usage_date, '%Y-%m') as billing_month,
        case when apart.currency = 'USD' then 1 else fx_rates.rate end as fx_rate,
        cast(apart.quantity * apart.price_difference as decimal(38, 18)) as difference_cost
    from apart
    left join accounts on apart.account_id = accounts.account_id
    left join fx_rates
        on apart.usage_date = fx_rates.rate_date and apart.currency = fx_rates.quote_currency
    where strftime(apart.usage_date, '%Y-%m') > coalesce(accounts.closed_through, '')
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        sum({{ converted('difference_cost', 'fx_rate') | indent(8) }}) as amount_at_stake,
        string_agg(distinct price_ids, ',' order by price_ids) as evidence_keys
    from open_usage
    group by account_id, billing_month, currency, provider, model, unit, service_tier, is_batch
),

described as (
    select
        *,
        'model_unit' as subject_type,
        concat_ws(
            '/', provider, model, unit, service_tier, case when is_batch then 'batch' end
        ) as subject_id,
        'select * from marts.price_snapshots where provider = ' || {{ as_literal('provider') }}
        || ' and model = ' || {{ as_literal('model') }}
        || ' and unit = ' || {{ as_literal('unit') }}
        || ' and service_tier = ' || {{ as_literal('service_tier') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='price_drift',
            severity='warning',
            is_blocking=false,
            suggested_action='Find out which catalog is right; pricing.list_order says whose price holds.'
        ) }}
    from described
)

select * from final
