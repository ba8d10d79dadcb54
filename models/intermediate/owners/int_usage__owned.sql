-- Grain: one row per usage record, with its owner, account, provider account and billing day, and
-- its amounts in the account's currency. What the record states of its owner stands before what
-- owner tables say; an amount without an exchange rate is unknown.

with usage as (
    select * from {{ ref('int_usage__described') }}
),

owners as (
    select * from {{ ref('int_owners__resolved') }}
    where {{ in_touched_days('usage_date') }}
),

{%- set resolved = [
    "team_id", "team_name", "project_id", "tagged_project_id", "organization_id", "user_id",
    "api_key_name", "list_cost", "gateway_cost", "gateway_provider_cost", "cost_status",
] + owner_labels() %}

joined as (
    select
        usage.* exclude ({{ resolved | join(', ') }}),
        owners.known_team_id as team_id,
        coalesce(
            case when usage.team_id is not null then usage.team_name end,
            owners.known_team_name,
            usage.team_name
        ) as team_name,
        owners.known_project_id as project_id,
        owners.known_organization_id as organization_id,
        coalesce(usage.user_id, owners.known_user_id) as user_id,
        coalesce(usage.api_key_name, owners.known_api_key_name) as api_key_name,
        {% for label in owner_labels() -%}
        coalesce(usage.{{ label }}, owners.known_{{ label }}) as {{ label }},
        {% endfor -%}
        case
            when owners.known_team_rule is not null then owners.known_team_rule
            when usage.cost_center is not null then 'record'
            else coalesce(owners.known_cost_center_rule, 'none')
        end as owner_resolution,
        owners.batch_allowed as is_batch_allowed,
        owners.allowed_service_tiers,
        owners.account_id,
        owners.provider_account_id,
        owners.provider_project_id,
        owners.provider_api_key_id,
        owners.provider_time_zone,
        owners.is_contract_of_gateway,
        -- Traffic on the caller's own subscription, whatever the account's other traffic is.
        case
            when usage.used_client_oauth_token then 'subscription'
            when usage.is_byok then 'byok'
            else owners.scope_billing_mode
        end as billing_mode,
        -- Where no scope says how an account is billed, its gateway does.
        coalesce(owners.billed_basis, usage.default_billed_basis, 'rule') as billed_basis,
        owners.currency,
        owners.fx_rate,
        owners.gateway_fx_rate,
        case
            when usage.started_at >= owners.next_billing_day_at then owners.first_billing_date + 1
            else owners.first_billing_date
        end as billing_date,
        usage.gateway_cost as logged_cost,
        {{ converted('usage.gateway_cost', 'owners.gateway_fx_rate') | indent(8) }} as gateway_cost,
        {{ converted('usage.gateway_provider_cost', 'owners.gateway_fx_rate') | indent(8) }}
            as gateway_provider_cost,
        {{ converted('usage.list_cost', 'owners.fx_rate') | indent(8) }} as list_cost,
        case
            when usage.list_cost > 0 and owners.fx_rate is null then 'unpriced'
            else usage.cost_status
        end as cost_status
    from usage
    -- Every record has its row: contexts are made of the records of the same days.
    left join owners
        on
            cast(usage.started_at as date) = owners.usage_date
            {%- for name, expression in owner_context() %}
            and {{ expression }} is not distinct from owners.{{ name }}
            {%- endfor %}
)

select * from joined
