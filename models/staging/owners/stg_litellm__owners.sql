-- Grain: one row per gateway, owner (key, team, project, organization, user), and UTC day on which
-- it was observed; the last observation of a day holds for the day.

{%- set ids = ["user_id", "team_id", "project_id", "organization_id"] %}
{%- set labels = owner_labels() + ["tagged_project_id"] %}
{%- set tables = [
    {"entity": "key", "table": "litellm__keys", "id": "api_key_id", "name": "api_key_name", "has": ids + labels},
    {"entity": "deleted_key", "table": "litellm__deleted_keys", "id": "api_key_id", "name": "api_key_name", "has": ids + labels},
    {"entity": "deprecated_key", "table": "litellm__deprecated_keys", "id": "api_key_id", "has": ["active_api_key_id"]},
    {"entity": "team", "table": "litellm__teams", "id": "team_id", "name": "team_name", "has": ["organization_id"] + labels},
    {"entity": "deleted_team", "table": "litellm__deleted_teams", "id": "team_id", "name": "team_name", "has": ["organization_id"] + labels},
    {"entity": "project", "table": "litellm__projects", "id": "project_id", "name": "project_name", "has": ["team_id"] + labels},
    {"entity": "organization", "table": "litellm__organizations", "id": "organization_id", "name": "organization_name", "has": labels},
    {"entity": "user", "table": "litellm__users", "id": "user_id", "name": "user_name", "has": ["team_id", "team_ids", "organization_id"]},
] %}

with observed as (
    {% for each in tables -%}
    select
        '{{ each.entity }}' as entity,
        {{ each.id }} as entity_id,
        {{ each.name or "cast(null as varchar)" }} as entity_name,
        {% for name in ids + labels + ["active_api_key_id", "team_ids"] -%}
        {% if name in each.has %}{{ name }}{% else %}cast(null as varchar) as {{ name }}{% endif %},
        {% endfor -%}
        is_gone,
        observed_at,
        source_version_at,
        _gateway,
        _row_hash
    from {{ source('litellm_owners', each.table) }}
    {{ "union all" if not loop.last }}
    {% endfor %}
),

renamed as (
    select
        _gateway as gateway,
        entity,
        entity_id,
        entity_name,
        user_id,
        -- Who is in one team alone works for it.
        coalesce(team_id, case when not contains(team_ids, ',') then team_ids end) as team_id,
        coalesce(project_id, tagged_project_id) as project_id,
        organization_id,
        active_api_key_id,
        {{ owner_labels() | join(',\n        ') }},
        is_gone,
        cast(observed_at as date) as observed_date
    from observed
    qualify row_number() over (
        partition by _gateway, entity, entity_id, cast(observed_at as date)
        order by observed_at desc, source_version_at desc nulls last, _row_hash desc
    ) = 1
)

select * from renamed
