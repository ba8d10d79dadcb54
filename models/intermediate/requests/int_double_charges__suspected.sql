{{ config(
    materialized='incremental',
    incremental_strategy='following_days',
    on_schema_change='fail'
) }}
-- Grain: one row per charged usage record that an equal one came before: of the same key or team,
-- with the same model and all quantities, in the same session within a day or started within 60
-- seconds. What logged a call again under its own id has duplicate_of and is not among them.
-- Calls that are equal by nature (the same answer to many short questions, images by count) are
-- suspected only within 60 seconds of one session.

{%- set counted = usage_units() | map(attribute="name") | reject("equalto", "requests") | list %}
{%- set telling = [] %}
{%- for unit in usage_units() if unit.type in ("token", "second") %}
{%- do telling.append(unit.name) %}
{%- endfor %}

{%- set charged %}
        {{ in_following_days('started_at', before=1) }}
        and duplicate_of is null
        and requests > 0
        and not cache_hit
        and not is_batch
        and (billed_cost > 0 or gateway_cost > 0)
{%- endset %}

-- What has no equal in some quantities has none in all of them: nearly every record is left out
-- here, before its quantities are spelled and records are sorted.
with sized as (
    select
        coalesce(model, '') as model,
        coalesce(input_text_uncached_tokens, -1) as input_tokens,
        coalesce(output_text_tokens, -1) as output_tokens
    from {{ ref('usage_records') }}
    where {{ charged }}
    group by 1, 2, 3
    having count(*) > 1
),

usage as (
    select
        md5(concat_ws(
            '|',
            {% for name in counted -%}
            coalesce(cast({{ name }} as varchar), ''){{ "," if not loop.last }}
            {% endfor %}
        )) as quantities,
        greatest(
            {% for name in telling -%}
            coalesce({{ name }}, 0){{ "," if not loop.last }}
            {% endfor %}
        ) > 0 as has_telling_quantities,
        usage_record_id,
        started_at,
        usage_date,
        gateway,
        request_id,
        api_key_id,
        team_id,
        model,
        session_id,
        account_id,
        billing_month,
        currency,
        billed_cost
    from {{ ref('usage_records') }} as records
    where
        {{ charged }}
        and exists (
            select 1 from sized
            where
                coalesce(records.model, '') = sized.model
                and coalesce(records.input_text_uncached_tokens, -1) = sized.input_tokens
                and coalesce(records.output_text_tokens, -1) = sized.output_tokens
        )
),

-- A call belongs to its key and to its team; a pair is found by either.
owned as (
    select
        *,
        'key/' || api_key_id as key_or_team
    from usage
    where api_key_id is not null
    union all
    select
        *,
        'team/' || team_id as key_or_team
    from usage
    where team_id is not null
),

compared as (
    select
        *,
        lag(usage_record_id) over (
            partition by key_or_team, model, quantities order by started_at, usage_record_id
        ) as equal_record_id,
        lag(started_at) over (
            partition by key_or_team, model, quantities order by started_at, usage_record_id
        ) as equal_started_at,
        lag(usage_record_id) over (
            partition by key_or_team, model, quantities, session_id
            order by started_at, usage_record_id
        ) as session_record_id,
        lag(started_at) over (
            partition by key_or_team, model, quantities, session_id
            order by started_at, usage_record_id
        ) as session_started_at,
        count(*) over (partition by key_or_team, model, quantities, usage_date) as equal_calls
    from owned
),

suspected as (
    select
        *,
        case
            when
                session_id is not null
                and session_started_at >= started_at - interval 60 second
                then 'same_session_and_minute'
            when not has_telling_quantities or equal_calls > 20 then null
            when
                session_id is not null
                and session_started_at >= started_at - interval 24 hour
                then 'same_session'
            when equal_started_at >= started_at - interval 60 second then 'same_minute'
        end as suspicion
    from compared
),

final as (
    select
        usage_record_id,
        gateway,
        request_id,
        usage_date,
        started_at,
        account_id,
        billing_month,
        currency,
        billed_cost,
        suspicion,
        case when suspicion = 'same_minute' then equal_record_id else session_record_id end
            as earlier_record_id
    from suspected
    where suspicion is not null and {{ in_following_days('started_at') }}
    -- Found by key and by team it is one suspicion.
    qualify row_number() over (
        partition by usage_record_id order by suspicion asc, key_or_team asc
    ) = 1
)

select * from final
