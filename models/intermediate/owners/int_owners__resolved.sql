{{ config(materialized='incremental', incremental_strategy='owner_days') }}
-- Grain: one row per UTC day and owner context (see int_usage__owner_contexts): its owner, account
-- and provider account, so that each record finds them by equality. Whatever of the owner tables,
-- accounts and exchange rates reaches a record stands here, for a day is built again when its rows
-- here differ.

with named as (
    select
        *,
        {{ provider_name('price_provider') }} as provider,
        lower(regexp_extract(api_base, '^(?:[a-zA-Z]+://)?([^/:?#]+)', 1)) as api_base_host
    from {{ ref('int_owners__named') }}
    where {{ in_owner_days('usage_date') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

account_scopes as (
    select * from {{ ref('account_scopes') }}
),

provider_accounts as (
    select * from {{ ref('provider_accounts') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

{#- Nearest first (contract, table T1). -#}
{%- set scopes = [
    ["key", "api_key_id"], ["project", "known_project_id"], ["team", "known_team_id"],
    ["organization", "known_organization_id"], ["gateway", "cast('' as varchar)"],
] %}

targets as (
    {% for type, id in scopes -%}
    select
        context_number,
        usage_date,
        gateway,
        provider,
        '{{ type }}' as scope_type,
        {{ id }} as scope_id,
        {{ loop.index }} as scope_rank
    from named
    {{ "union all" if not loop.last }}
    {% endfor %}
),

scoped as (
    select
        targets.context_number,
        account_scopes.account_id,
        account_scopes.billing_mode,
        account_scopes.billed_basis
    from targets
    inner join account_scopes
        on
            targets.scope_type = account_scopes.scope_type
            and targets.scope_id = case
                when account_scopes.scope_type = 'gateway' then ''
                else account_scopes.scope_id
            end
            and (targets.gateway = account_scopes.gateway or account_scopes.gateway is null)
            and (targets.provider = account_scopes.provider or account_scopes.provider is null)
            and targets.usage_date >= account_scopes.valid_from_date
            and targets.usage_date < coalesce(account_scopes.valid_to_date, date '9999-12-31')
    qualify row_number() over (
        partition by targets.context_number
        order by
            targets.scope_rank,
            account_scopes.provider nulls last,
            account_scopes.gateway nulls last,
            account_scopes.account_id
    ) = 1
),

contracted as (
    select
        named.context_number,
        provider_accounts.provider_account_id,
        provider_accounts.provider_project_id,
        provider_accounts.provider_api_key_id,
        provider_accounts.time_zone,
        provider_accounts.gateway is not null as is_of_gateway
    from named
    inner join provider_accounts
        on
            named.provider = provider_accounts.provider
            and (provider_accounts.gateway is null or named.gateway = provider_accounts.gateway)
            and (provider_accounts.model_id is null or named.model_id = provider_accounts.model_id)
            and (
                provider_accounts.api_base_host is null
                or named.api_base_host = lower(provider_accounts.api_base_host)
            )
            -- No record shows the provider's project: it must be that of a deployment or host.
            and (
                provider_accounts.provider_project_id is null
                or provider_accounts.model_id is not null
                or provider_accounts.api_base_host is not null
            )
            and named.usage_date >= provider_accounts.valid_from_date
            and named.usage_date < coalesce(provider_accounts.valid_to_date, date '9999-12-31')
    qualify row_number() over (
        partition by named.context_number
        order by
            provider_accounts.model_id nulls last,
            provider_accounts.api_base_host nulls last,
            provider_accounts.gateway nulls last,
            -- A record does not name the provider's key, so a row without one is nearer.
            provider_accounts.provider_api_key_id nulls first,
            provider_accounts.provider_account_id
    ) = 1
),

billed as (
    select
        named.*,
        coalesce(scoped.account_id, 'unassigned') as account_id,
        coalesce(scoped.billing_mode, 'managed') as scope_billing_mode,
        scoped.billed_basis,
        coalesce(accounts.currency, 'USD') as currency,
        coalesce(accounts.time_zone, 'UTC') as time_zone,
        -- Windows of debits are the wallet's: the days of another wallet are built anew.
        accounts.wallet_id,
        accounts.baseline_model,
        accounts.budget_owner as account_budget_owner,
        coalesce(contracted.provider_account_id, named.provider) as provider_account_id,
        contracted.provider_project_id,
        contracted.provider_api_key_id,
        coalesce(contracted.time_zone, {{ default_billing_zone('named.provider') }})
            as provider_time_zone,
        coalesce(contracted.is_of_gateway, false) as is_contract_of_gateway
    from named
    left join scoped on named.context_number = scoped.context_number
    left join accounts on scoped.account_id = accounts.account_id
    left join contracted on named.context_number = contracted.context_number
),

dated as (
    select
        billed.*,
        case when billed.currency = 'USD' then 1 else list_rates.rate end as fx_rate,
        -- What a gateway writes is in its own currency, mostly US dollars.
        case
            when coalesce(billed.logged_currency, 'USD') = billed.currency then 1
            else gateway_rates.rate
        end as gateway_fx_rate,
        cast(
            timezone(
                billed.time_zone, timezone('UTC', cast(billed.usage_date as timestamp))
            ) as date
        ) as first_billing_date
    from billed
    left join fx_rates as list_rates
        on
            billed.usage_date = list_rates.rate_date
            and billed.currency = list_rates.quote_currency
            and list_rates.base_currency = 'USD'
    left join fx_rates as gateway_rates
        on
            billed.usage_date = gateway_rates.rate_date
            and billed.currency = gateway_rates.quote_currency
            and coalesce(billed.logged_currency, 'USD') = gateway_rates.base_currency
),

final as (
    select
        * exclude (
            context_number, provider, api_base_host, fx_rate, gateway_fx_rate, known_budget_owner,
            account_budget_owner
        ),
        coalesce(known_budget_owner, account_budget_owner) as known_budget_owner,
        cast(fx_rate as decimal(18, 12)) as fx_rate,
        cast(gateway_fx_rate as decimal(18, 12)) as gateway_fx_rate,
        -- When the account's next day begins, UTC: later records of this day are billed in that.
        timezone('UTC', timezone(time_zone, cast(first_billing_date + 1 as timestamp)))
            as next_billing_day_at
    from dated
)

select * from final
