-- Grain: one row per UTC day and owner context (see int_usage__owner_contexts): its team, project,
-- organization and labels. What a record states stands first, then the key's owner, then what is
-- known of project, user, team and organization; the rules say which of these gave the team and the
-- cost center.

with contexts as (
    select
        *,
        row_number() over (
            order by usage_date, {{ owner_context_names() | join(', ') }}
        ) as context_number
    from {{ ref('int_usage__owner_contexts') }}
    where {{ in_owner_days('usage_date') }}
),

keyed as (
    select * from {{ ref('int_owners__keyed') }}
),

teams as (
    select * from {{ ref('teams') }}
),

states as (
    select * from {{ ref('int_owners__dated') }}
),

identified as (
    select
        contexts.*,
        keyed.team_id as key_team_id,
        keyed.team_rule,
        keyed.cost_center_rule,
        coalesce(contexts.project_id, keyed.project_id) as known_project_id,
        coalesce(contexts.user_id, keyed.user_id) as known_user_id,
        keyed.user_id as key_user_id,
        keyed.api_key_name,
        keyed.organization_id as key_organization_id,
        {% for label in owner_labels() -%}
        keyed.{{ label }} as key_{{ label }},
        {% endfor -%}
        keyed.batch_allowed,
        keyed.allowed_service_tiers
    from contexts
    left join keyed
        on
            contexts.usage_date = keyed.usage_date
            and contexts.gateway = keyed.gateway
            and contexts.api_key_id = keyed.api_key_id
),

project_states as (
    {{- state_of(["project"], "identified", "known_project_id") }}
),

user_states as (
    {{- state_of(["user"], "identified", "known_user_id") }}
),

with_teams as (
    select
        identified.*,
        coalesce(
            identified.team_id, identified.key_team_id, project_states.team_id, user_states.team_id
        ) as known_team_id,
        case
            when identified.team_id is not null then 'record'
            when identified.key_team_id is not null then identified.team_rule
            when project_states.team_id is not null then 'project'
            when user_states.team_id is not null then 'user'
        end as known_team_rule,
        {% for label in owner_labels() -%}
        project_states.{{ label }} as project_{{ label }},
        {% endfor -%}
        user_states.organization_id as user_organization_id
    from identified
    left join project_states on identified.context_number = project_states.context_number
    left join user_states on identified.context_number = user_states.context_number
),

team_states as (
    {{- state_of(["team", "deleted_team"], "with_teams", "known_team_id") }}
),

with_organizations as (
    select
        with_teams.*,
        coalesce(teams.team_name, team_states.entity_name) as known_team_name,
        coalesce(
            with_teams.organization_id, with_teams.key_organization_id, teams.organization_id,
            team_states.organization_id, with_teams.user_organization_id
        ) as known_organization_id,
        {% for label in owner_labels() -%}
        team_states.{{ label }} as team_{{ label }},
        {% endfor -%}
        teams.cost_center as seed_cost_center,
        teams.budget_owner as seed_budget_owner
    from with_teams
    left join teams on with_teams.known_team_id = teams.team_id
    left join team_states on with_teams.context_number = team_states.context_number
),

organization_states as (
    {{- state_of(["organization"], "with_organizations", "known_organization_id") }}
),

named as (
    select
        named_by.context_number,
        named_by.usage_date,
        {% for id in owner_context_names() -%}
        named_by.{{ id }},
        {% endfor -%}
        named_by.known_team_id,
        named_by.known_team_name,
        named_by.known_project_id,
        named_by.known_organization_id,
        named_by.api_key_name as known_api_key_name,
        named_by.key_user_id as known_user_id,
        coalesce(
            named_by.key_cost_center, named_by.project_cost_center, named_by.seed_cost_center,
            named_by.team_cost_center, organization_states.cost_center
        ) as known_cost_center,
        coalesce(
            named_by.key_budget_owner, named_by.project_budget_owner, named_by.seed_budget_owner,
            named_by.team_budget_owner, organization_states.budget_owner
        ) as known_budget_owner,
        {% for label in owner_labels() if label not in ["cost_center", "budget_owner"] -%}
        coalesce(
            named_by.key_{{ label }}, named_by.project_{{ label }}, named_by.team_{{ label }},
            organization_states.{{ label }}
        ) as known_{{ label }},
        {% endfor -%}
        named_by.known_team_rule,
        case
            when named_by.key_cost_center is not null then named_by.cost_center_rule
            when named_by.project_cost_center is not null then 'project'
            when named_by.seed_cost_center is not null then 'team'
            when named_by.team_cost_center is not null then 'team'
            when organization_states.cost_center is not null then 'organization'
        end as known_cost_center_rule,
        named_by.batch_allowed,
        named_by.allowed_service_tiers
    from with_organizations as named_by
    left join organization_states
        on named_by.context_number = organization_states.context_number
)

select * from named
