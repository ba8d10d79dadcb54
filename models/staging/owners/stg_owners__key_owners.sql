-- Grain: one row per key, gateway and start of validity of a dropped owner map.
-- A row that comes again with another content corrects the earlier one.

with source as (
    select * from {{ source('owners', 'owners__key_owners') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by api_key_id, gateway, valid_from_date
        order by observed_at desc, source_version_at desc nulls last, _row_hash desc
    ) = 1
),

renamed as (
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
        observed_at,
        _load_batch_id
    from newest
    where not is_gone
)

select * from renamed
