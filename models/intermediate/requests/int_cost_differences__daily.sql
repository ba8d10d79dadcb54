{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, account, month, currency, gateway, model and unit of which one side
-- is free (none: both charge): records whose gateway cost is not what it should be, beyond the
-- tolerance of a record. A failure that was charged is a charged_failure, and not among them.

with records as (
    select * from {{ ref('usage_records') }}
    where
        {{ in_touched_days('started_at') }}
        and duplicate_of is null
        and cost_status <> 'failed'
),

-- The charge of a batch of several models stands on its first.
batches as (
    select
        gateway,
        request_id,
        started_at,
        api_key_id,
        case when count(*) = count(expected_gateway_cost) then sum(expected_gateway_cost) end
            as expected_cost
    from records
    where defect_codes like '%batch_of_several_models%'
    group by gateway, request_id, started_at, api_key_id
),

usage as (
    select
        records.*,
        -- Of several quantities the first, so that no record counts at two.
        case
            {% for unit in usage_units() -%}
            when records.{{ unit.name }} > 0 then '{{ unit.name }}'
            {% endfor %}
        end as first_unit,
        case
            when batches.request_id is null then records.expected_gateway_cost
            else batches.expected_cost
        end as expected_cost
    from records
    left join batches
        on
            records.gateway = batches.gateway
            and records.request_id = batches.request_id
            and records.started_at = batches.started_at
            and records.api_key_id is not distinct from batches.api_key_id
            and records.defect_codes like '%batch_of_several_models%'
),

differing as (
    select
        *,
        gateway_cost - expected_cost as difference,
        billed_basis = 'charge'
        and billing_mode <> 'subscription'
        and gateway_cost > expected_cost as is_charge,
        case
            when
                cost_status in ('priced', 'free')
                and (gateway_cost = 0 or expected_cost = 0)
                then first_unit
        end as free_unit
    from usage
    where abs(gateway_cost - expected_cost) > {{ var('cost_tolerance') }}
),

final as (
    select
        usage_date,
        account_id,
        billing_month,
        currency,
        gateway,
        model,
        free_unit,
        count(*) as records,
        cast(sum(difference) as decimal(38, 18)) as difference,
        cast(sum(abs(difference)) as decimal(38, 18)) as absolute_difference,
        -- Of charges, which can be disputed; an estimate is nobody's money.
        cast(
            coalesce(sum(case when is_charge then gateway_cost end), 0) as decimal(38, 18)
        ) as charged_amount,
        cast(
            coalesce(sum(case when is_charge then difference end), 0) as decimal(38, 18)
        ) as overcharged_amount,
        max(started_at) as last_started_at
    from differing
    group by usage_date, account_id, billing_month, currency, gateway, model, free_unit
)

select * from final
