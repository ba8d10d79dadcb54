-- Grain: one row per key, gateway and span of UTC days in which an owner map says whose it is.
-- What the seed says of a key stands before dropped owner maps; of two dropped rows that hold at
-- once the one that began later does.

with seed as (
    select * from {{ ref('key_owners') }}
),

dropped as (
    select * from {{ ref('stg_owners__key_owners') }}
),

seeded_keys as (
    select
        api_key_id,
        gateway
    from seed
    group by api_key_id, gateway
),

unseeded as (
    select dropped.*
    from dropped
    left join seeded_keys
        on
            dropped.api_key_id = seeded_keys.api_key_id
            and dropped.gateway is not distinct from seeded_keys.gateway
    where seeded_keys.api_key_id is null
),

unified as (
    select
        api_key_id, gateway, api_key_name, team_id, project_id,
        {{ owner_labels() | join(', ') }},
        batch_allowed, allowed_service_tiers, valid_from_date,
        coalesce(valid_to_date, date '9999-12-31') as valid_to_date,
        'seed' as owner_source
    from seed
    union all
    select
        api_key_id, gateway, api_key_name, team_id, project_id,
        {{ owner_labels() | join(', ') }},
        batch_allowed, allowed_service_tiers, valid_from_date,
        least(
            valid_to_date,
            lead(valid_from_date, 1, date '9999-12-31') over (
                partition by api_key_id, gateway order by valid_from_date
            )
        ) as valid_to_date,
        'owner_map' as owner_source
    from unseeded
)

select * from unified
