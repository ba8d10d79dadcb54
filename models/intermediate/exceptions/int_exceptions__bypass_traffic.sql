-- Grain: one row per provider account, key or project at the provider, and month in which the
-- provider states usage or cost of it and the gateway has no record of it.

with stated as (
    select * from {{ ref('int_provider__stated') }}
    where is_bypass and line_kind = 'usage' and (quantity > 0 or amount > 0)
),

-- Where costs are stated by project alone, the project speaks for its keys.
projects as (
    select distinct
        provider_account_id,
        provider_project_id,
        strftime(provider_date, '%Y-%m') as billing_month
    from stated
    where
        kind = 'cost'
        and provider_api_key_id is null
        and provider_project_id is not null
),

named as (
    select
        stated.*,
        strftime(stated.provider_date, '%Y-%m') as billing_month,
        case
            when projects.provider_project_id is not null then stated.provider_project_id
            else coalesce(stated.provider_api_key_id, stated.provider_project_id, 'no key')
        end as party
    from stated
    left join projects
        on
            stated.provider_account_id = projects.provider_account_id
            and stated.provider_project_id = projects.provider_project_id
            and strftime(stated.provider_date, '%Y-%m') = projects.billing_month
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
        named.provider_account_id,
        named.party,
        named.billing_month,
        max(coalesce(named.currency, 'USD')) as currency,
        sum(named.amount) as cost_amount,
        sum({{ sliced_cost('named.quantity', 'prices.unit_price') }})
            filter (where named.kind = 'usage') as usage_amount,
        count(*) as slices
    from named
    left join prices
        on
            named.kind = 'usage'
            and named.provider = prices.provider
            and named.model = prices.model
            and named.unit = prices.unit
            and named.service_tier = prices.service_tier
            and named.is_batch = prices.is_batch
            and prices.currency = coalesce(named.currency, 'USD')
    group by named.provider_account_id, named.party, named.billing_month
),

described as (
    select
        coalesce(accounts.account_id, 'unassigned') as account_id,
        parties.billing_month,
        parties.currency,
        -- A refund of what we know nothing of is at stake as much as a charge.
        abs(coalesce(parties.cost_amount, parties.usage_amount)) as amount_at_stake,
        'provider_key' as subject_type,
        parties.provider_account_id || '/' || parties.party as subject_id,
        cast(parties.slices as varchar) as evidence_keys,
        'select * from intermediate.int_provider__stated where is_bypass and provider_account_id = '
        || {{ as_literal('parties.provider_account_id') }}
        || ' and ' || {{ as_literal('parties.party') }}
        || ' in (provider_api_key_id, provider_project_id, ''no key'')'
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
