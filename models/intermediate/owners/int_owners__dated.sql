-- Grain: one row per gateway, owner (key, team, project, organization, user) and span of UTC days.
-- Spans of one owner follow each other without a gap: an owner that is gone is still known by what
-- was last seen of it, and before it was first seen by what was seen then. In is_as_seen_to_date
-- stands until when it was really there.

with observed as (
    select * from {{ ref('stg_litellm__owners') }}
),

followed as (
    select
        *,
        lead(observed_date, 1, date '9999-12-31') over (
            partition by gateway, entity, entity_id order by observed_date
        ) as seen_to_date
    from observed
),

spanned as (
    select
        * exclude (is_gone),
        case
            when
                row_number() over (
                    partition by gateway, entity, entity_id order by observed_date
                ) = 1
                then date '1970-01-01'
            else observed_date
        end as valid_from_date,
        lead(observed_date, 1, date '9999-12-31') over (
            partition by gateway, entity, entity_id order by observed_date
        ) as valid_to_date
    from followed
    where not is_gone
)

select * from spanned
