-- Grain: one row per UTC day, gateway and key used on it, of those any owner table knows: what is
-- known of the key's owner, each column from the nearest rule that has it.
-- The rules, nearest first: owner map, the gateway's own key table, both of the key that replaced
-- this one, the gateway's archive of deleted keys, what was seen of the key at another time.

with recursive keys as (
    select distinct
        usage_date,
        gateway,
        api_key_id
    from {{ ref('int_usage__owner_contexts') }}
    where api_key_id is not null and {{ in_owner_days('usage_date') }}
),

maps as (
    select * from {{ ref('int_owners__mapped') }}
),

dated as (
    select * from {{ ref('int_owners__dated') }}
),

replacements as (
    select
        entity_id as api_key_id,
        -- A hash is the same key on every gateway.
        min_by(active_api_key_id, observed_date) as replaced_by_key_id
    from dated
    where
        entity = 'deprecated_key'
        and valid_to_date = date '9999-12-31'
        and active_api_key_id <> entity_id
    group by entity_id
),

chain as (
    select
        usage_date,
        gateway,
        api_key_id,
        api_key_id as candidate_key_id,
        0 as hops
    from keys
    union all
    select
        chain.usage_date,
        chain.gateway,
        chain.api_key_id,
        replacements.replaced_by_key_id as candidate_key_id,
        chain.hops + 1 as hops
    from chain
    inner join replacements on chain.candidate_key_id = replacements.api_key_id
    -- A key is rotated a few times, and no circle may hold the run.
    where chain.hops < 10
),

mapped as (
    select
        chain.usage_date,
        chain.gateway,
        chain.api_key_id,
        case when chain.hops = 0 then 10 else 30 + chain.hops end as rule_rank,
        case when chain.hops = 0 then 'key_owners' else 'rotated_key' end as found_by,
        maps.api_key_name,
        cast(null as varchar) as user_id,
        maps.team_id,
        maps.project_id,
        cast(null as varchar) as organization_id,
        {% for label in owner_labels() -%}
        maps.{{ label }},
        {% endfor -%}
        maps.batch_allowed,
        maps.allowed_service_tiers
    from chain
    inner join maps
        on
            chain.candidate_key_id = maps.api_key_id
            and (chain.gateway = maps.gateway or maps.gateway is null)
            and chain.usage_date >= maps.valid_from_date
            and chain.usage_date < maps.valid_to_date
    qualify row_number() over (
        partition by chain.usage_date, chain.gateway, chain.api_key_id, chain.hops
        order by maps.gateway nulls last
    ) = 1
),

observed as (
    select
        chain.usage_date,
        chain.gateway,
        chain.api_key_id,
        case
            when chain.hops > 0 then 40 + chain.hops
            when dated.entity = 'deleted_key' then 60
            when
                chain.usage_date >= dated.observed_date
                and chain.usage_date < dated.seen_to_date
                then 20
            else 70
        end as rule_rank,
        case
            when chain.hops > 0 then 'rotated_key'
            when dated.entity = 'deleted_key' then 'deleted_key'
            else 'gateway_key'
        end as found_by,
        dated.entity_name as api_key_name,
        dated.user_id,
        dated.team_id,
        dated.project_id,
        dated.organization_id,
        {% for label in owner_labels() -%}
        dated.{{ label }},
        {% endfor -%}
        cast(null as boolean) as batch_allowed,
        cast(null as varchar) as allowed_service_tiers
    from chain
    inner join dated
        on
            chain.candidate_key_id = dated.entity_id
            and dated.entity in ('key', 'deleted_key')
            and chain.usage_date >= dated.valid_from_date
            and chain.usage_date < dated.valid_to_date
    qualify row_number() over (
        partition by
            chain.usage_date, chain.gateway, chain.api_key_id, chain.hops, dated.entity
        order by chain.gateway = dated.gateway desc, dated.gateway
    ) = 1
),

candidates as (
    select * from mapped
    union all
    select * from observed
),

{%- set names = [
    "api_key_name", "user_id", "team_id", "project_id", "organization_id",
] + owner_labels() + ["batch_allowed", "allowed_service_tiers"] %}

nearest as (
    select
        usage_date,
        gateway,
        api_key_id,
        {% for name in names -%}
        min_by({{ name }}, rule_rank) filter (where {{ name }} is not null) as {{ name }},
        {% endfor -%}
        min_by(found_by, rule_rank) filter (where team_id is not null) as team_rule,
        min_by(found_by, rule_rank) filter (where cost_center is not null) as cost_center_rule
    from candidates
    group by usage_date, gateway, api_key_id
)

select * from nearest
