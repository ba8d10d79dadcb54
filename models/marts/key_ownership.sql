{{ config(alias='key_owners') }}
-- Grain: one row per key, gateway and span of UTC days: whose it is.
-- The gateway's own key table speaks for the keys that no owner map names.

with maps as (
    select * from {{ ref('int_owners__mapped') }}
),

mapped_keys as (
    select api_key_id
    from maps
    group by api_key_id
),

gateway_keys as (
    select states.*
    from {{ ref('int_owners__dated') }} as states
    left join mapped_keys on states.entity_id = mapped_keys.api_key_id
    where states.entity = 'key' and mapped_keys.api_key_id is null
),

unified as (
    select
        api_key_id, gateway, api_key_name, team_id, project_id,
        {{ owner_labels() | join(', ') }},
        batch_allowed, allowed_service_tiers, valid_from_date, valid_to_date, owner_source
    from maps
    union all
    select
        entity_id as api_key_id, gateway, entity_name as api_key_name, team_id, project_id,
        {{ owner_labels() | join(', ') }},
        cast(null as boolean) as batch_allowed,
        cast(null as varchar) as allowed_service_tiers,
        observed_date as valid_from_date,
        seen_to_date as valid_to_date,
        'gateway' as owner_source
    from gateway_keys
),

final as (
    select
        api_key_id,
        gateway,
        api_key_name,
        team_id,
        project_id,
        cost_center,
        environment,
        workflow,
        customer_segment,
        budget_owner,
        ticket,
        batch_allowed,
        allowed_service_tiers,
        valid_from_date,
        valid_to_date,
        owner_source
    from unified
)

select * from final
