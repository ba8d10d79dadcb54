-- Grain: one row per provider account, key or project at the provider, and month in which the
-- provider states usage or cost of it and the gateway has no record of it.

with stated as (
    select * from {{ ref('int_provider__stated') }}
    where is_bypass and line_kind = 'usage' and (quantity > 0 or amount > 0)
),

prices as (
    select
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        currency,
        arg_min(unit_price, (list_rank, unit_price)) as unit_price
    from {{ ref('int_prices__known') }}
    where context_band is null and list_rank < 100
    group by provider, model, unit, service_tier, is_batch, currency
),

accounts as (
    select * from {{ ref('int_provider_accounts__owned') }}
),

parties as (
    select
        stated.provider_account_id,
        coalesce(stated.provider_api_key_id, stated.provider_project_id, 'no key') as party,
        strftime(stated.provider_date, '%Y-%m') as billing_month,
        max(coalesce(stated.currency, 'USD')) as currency,
        sum(stated.amount) as cost_amount,
        sum({{ sliced_cost('stated.quantity', 'prices.unit_price') }})
            filter (where stated.kind = 'usage') as usage_amount,
        count(*) as slices
    from stated
    left join prices
        on
            stated.kind = 'usage'
            and stated.provider = prices.provider
            and stated.model = prices.model
            and stated.unit = prices.unit
            and stated.service_tier = prices.service_tier
            and stated.is_batch = prices.is_batch
            and prices.currency = coalesce(stated.currency, 'USD')
    group by
        stated.provider_account_id,
        coalesce(stated.provider_api_key_id, stated.provider_project_id, 'no key'),
        strftime(stated.provider_date, '%Y-%m')
),

described as (
    select
        coalesce(accounts.account_id, 'unassigned') as account_id,
        parties.billing_month,
        parties.currency,
        coalesce(parties.cost_amount, parties.usage_amount) as amount_at_stake,
        'provider_key' as subject_type,
        parties.provider_account_id || '/' || parties.party as subject_id,
        cast(parties.slices as varchar) as evidence_keys,
        'select * from intermediate.int_provider__stated where is_bypass and provider_account_id = '
        || {{ as_literal('parties.provider_account_id') }}
        || ' and coalesce(provider_api_key_id, provider_project_id, ''no key'') = '
        || {{ as_literal('parties.party') }}
        || ' and strftime(provider_date, ''%Y-%m'') = '
        || {{ as_literal('parties.billing_month') }} as evidence
    from parties
    left join accounts on parties.provider_account_id = accounts.provider_account_id
),

final as (
    select
        {{ exception_columns(
            type='bypass_traffic',
            severity='error',
            is_blocking=true,
            suggested_action='Route this key through the gateway, or say whose it is.'
        ) }}
    from described
)

select * from final
