{{ config(materialized='incremental', incremental_strategy='touched_days') }}
-- Grain: one row per UTC day and combination of ids by which owners are found: gateway, key, team,
-- project, organization, user, provider, deployment, address. Owners are resolved for these, not
-- for every record; days are kept so that other owners reach the days they concern.

with usage as (
    select * from {{ ref('int_usage__unified') }}
    where {{ in_touched_days('started_at') }}
),

contexts as (
    select distinct
        {% for name, expression in owner_context() -%}
        {{ expression }} as {{ name }},
        {% endfor -%}
        cast(usage.started_at as date) as usage_date
    from usage
)

select * from contexts
