-- Grain: one row per key that any owner table names, at whatever time.

with known as (
    select api_key_id
    from {{ ref('int_owners__mapped') }}
    union
    select entity_id as api_key_id
    from {{ ref('int_owners__dated') }}
    where entity in ('key', 'deleted_key', 'deprecated_key')
)

select * from known
