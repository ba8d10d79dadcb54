{{ config(
    materialized='table',
    meta={'rows_need': ['int_provider_costs__unified', 'int_provider_usage__unified']}
) }}
-- Grain: one row per kind (usage, cost), provider account, UTC day, project, key, model, unit,
-- tier, batch, currency and kind of line: what a provider states, under the names we compare.
-- is_bypass: the gateway has no record of that project or key in the month. Where gateway and
-- provider name their keys differently, a project or key counts as passed by only if on each of
-- its days the others alone cover all that the gateway recorded.

with usage as (
    select * from {{ ref('int_provider_usage__unified') }}
),

costs as (
    select * from {{ ref('int_provider_costs__unified') }}
),

models as (
    select * from {{ ref('int_models__spelled') }}
),

provider_accounts as (
    select * from {{ ref('provider_accounts') }}
),

together as (
    select
        'usage' as kind,
        source,
        provider,
        provider_date,
        provider_project_id,
        provider_api_key_id,
        model,
        unit,
        service_tier,
        is_batch,
        cast(null as varchar) as currency,
        'usage' as line_kind,
        cast(null as varchar) as line_item,
        quantity,
        cast(null as decimal(38, 18)) as amount,
        is_complete,
        observed_at
    from usage
    union all
    select
        'cost' as kind,
        source,
        provider,
        provider_date,
        provider_project_id,
        provider_api_key_id,
        model,
        unit,
        service_tier,
        is_batch,
        currency,
        line_kind,
        line_item,
        quantity,
        amount,
        is_complete,
        observed_at
    from costs
),

-- Two sources that state one day of one project state the same money: the fuller one holds.
sources as (
    select
        kind,
        provider,
        provider_date,
        provider_project_id,
        source,
        count(*) as stated_rows,
        bool_and(is_complete) as is_complete
    from together
    group by kind, provider, provider_date, provider_project_id, source
    qualify row_number() over (
        partition by kind, provider, provider_date, provider_project_id
        order by bool_and(is_complete) desc, count(*) desc, source asc
    ) = 1
),

parties as (
    select
        together.provider,
        together.provider_project_id,
        together.provider_api_key_id,
        together.provider_date
    from together
    group by
        together.provider, together.provider_project_id, together.provider_api_key_id,
        together.provider_date
),

contracted as (
    select
        parties.*,
        provider_accounts.provider_account_id
    from parties
    inner join provider_accounts
        on
            parties.provider = provider_accounts.provider
            and (
                provider_accounts.provider_project_id is null
                or parties.provider_project_id = provider_accounts.provider_project_id
            )
            and (
                provider_accounts.provider_api_key_id is null
                or parties.provider_api_key_id = provider_accounts.provider_api_key_id
            )
            and parties.provider_date >= provider_accounts.valid_from_date
            and parties.provider_date < coalesce(provider_accounts.valid_to_date, date '9999-12-31')
    qualify row_number() over (
        partition by
            parties.provider, parties.provider_project_id, parties.provider_api_key_id,
            parties.provider_date
        order by
            provider_accounts.provider_api_key_id asc nulls last,
            provider_accounts.provider_project_id asc nulls last,
            -- A bill shows no deployment and no host, so a row without them is nearer.
            provider_accounts.model_id asc nulls first,
            provider_accounts.api_base_host asc nulls first,
            provider_accounts.gateway asc nulls first,
            provider_accounts.provider_account_id asc
    ) = 1
),

stated as (
    select
        together.kind,
        together.provider,
        coalesce(contracted.provider_account_id, together.provider) as provider_account_id,
        together.provider_date,
        date_trunc('month', together.provider_date) as provider_month,
        together.provider_project_id,
        together.provider_api_key_id,
        coalesce(models.compared_model, together.model) as model,
        {{ compared_unit('together.unit', 'together.provider') }} as unit,
        together.service_tier,
        together.is_batch,
        together.currency,
        together.line_kind,
        case when together.unit is null then together.line_item end as line_item,
        cast(sum(together.quantity) as decimal(26, 6)) as quantity,
        cast(sum(together.amount) as decimal(38, 18)) as amount,
        count(*) = count(together.quantity) as has_quantity,
        bool_and(together.is_complete) as is_complete,
        max(together.observed_at) as observed_at
    from together
    inner join sources
        on
            together.kind = sources.kind
            and together.provider = sources.provider
            and together.provider_date = sources.provider_date
            and together.provider_project_id is not distinct from sources.provider_project_id
            and together.source = sources.source
    left join models
        on together.provider = models.provider and together.model = models.model
    left join contracted
        on
            together.provider = contracted.provider
            and together.provider_project_id is not distinct from contracted.provider_project_id
            and together.provider_api_key_id is not distinct from contracted.provider_api_key_id
            and together.provider_date = contracted.provider_date
    group by
        together.kind, together.provider, contracted.provider_account_id, together.provider_date,
        together.provider_project_id, together.provider_api_key_id, models.compared_model,
        together.model, together.unit, together.service_tier, together.is_batch,
        together.currency, together.line_kind, together.line_item
),

slices as (
    select * from {{ ref('int_usage__sliced') }}
    where
        payee = provider
        and provider_account_id in (select stated.provider_account_id from stated)
),

-- Who passes by is judged by what was used; by quantities of costs where there is no usage.
judged_kinds as (
    select
        provider_account_id,
        provider_month,
        max(kind) as kind
    from stated
    where quantity is not null
    group by provider_account_id, provider_month
),

quantities as (
    select
        stated.provider_account_id,
        stated.provider_month,
        stated.provider_date,
        stated.provider_project_id,
        stated.provider_api_key_id,
        stated.model,
        stated.unit,
        sum(stated.quantity) as quantity
    from stated
    inner join judged_kinds
        on
            stated.provider_account_id = judged_kinds.provider_account_id
            and stated.provider_month = judged_kinds.provider_month
            and stated.kind = judged_kinds.kind
    where stated.model is not null and stated.unit <> 'requests' and stated.quantity > 0
    group by
        stated.provider_account_id, stated.provider_month, stated.provider_date,
        stated.provider_project_id, stated.provider_api_key_id, stated.model, stated.unit
),

recorded as (
    select
        slices.provider_account_id,
        slices.provider_date,
        coalesce(models.compared_model, slices.model) as model,
        {{ compared_unit('slices.unit', 'slices.provider') }} as unit,
        sum(slices.quantity) as quantity
    from slices
    left join models
        on slices.provider = models.provider and slices.model = models.model
    where slices.usage_class = 'billable' and slices.unit <> 'requests'
    group by all
),

known_parties as (
    select
        provider_account_id,
        date_trunc('month', provider_date) as provider_month,
        array_agg(distinct provider_project_id) as provider_project_ids,
        array_agg(distinct project_id) as project_ids,
        array_agg(distinct provider_api_key_id) as provider_api_key_ids,
        array_agg(distinct api_key_id) as api_key_ids,
        count(distinct provider_api_key_id) as provider_api_keys,
        bool_and(provider_project_id is not null or provider_api_key_id is not null) as is_all_known
    from slices
    where unit <> 'other'
    group by provider_account_id, date_trunc('month', provider_date)
),

held as (
    select
        quantities.*,
        known_parties.provider_account_id is not null as is_account_seen,
        coalesce(known_parties.is_all_known, false) as is_all_known,
        coalesce(
            list_contains(known_parties.provider_api_key_ids, quantities.provider_api_key_id)
            or list_contains(known_parties.api_key_ids, quantities.provider_api_key_id)
            or (
                (
                    list_contains(
                        known_parties.provider_project_ids, quantities.provider_project_id
                    )
                    or list_contains(known_parties.project_ids, quantities.provider_project_id)
                )
                and (
                    quantities.provider_api_key_id is null
                    or known_parties.provider_api_keys = 0
                )
            ),
            false
        ) as is_seen,
        sum(quantities.quantity) over (
            partition by
                quantities.provider_account_id, quantities.provider_date, quantities.model,
                quantities.unit
        ) - coalesce(recorded.quantity, 0) as excess
    from quantities
    left join known_parties
        on
            quantities.provider_account_id = known_parties.provider_account_id
            and quantities.provider_month = known_parties.provider_month
    left join recorded
        on
            quantities.provider_account_id = recorded.provider_account_id
            and quantities.provider_date = recorded.provider_date
            and quantities.model = recorded.model
            and quantities.unit = recorded.unit
),

fitting as (
    select
        *,
        bool_and(excess >= quantity and not is_seen) over (
            partition by
                provider_account_id, provider_month, provider_project_id, provider_api_key_id
        ) as is_fitting
    from held
),

joined as (
    select
        *,
        sum(case when is_fitting then quantity else 0 end) over (
            partition by provider_account_id, provider_date, model, unit
        ) as fitting_quantity
    from fitting
),

judged as (
    select
        provider_account_id,
        provider_month,
        provider_project_id,
        provider_api_key_id,
        case
            when not bool_or(is_account_seen) then true
            when bool_or(is_seen) then false
            when bool_or(is_all_known) then true
            else bool_and(is_fitting and fitting_quantity <= excess)
        end as is_bypass,
        bool_or(is_account_seen) and not bool_or(is_all_known) as is_inferred
    from joined
    group by provider_account_id, provider_month, provider_project_id, provider_api_key_id
),

-- Where everything would have passed by although the gateway has records, nothing is known.
settled as (
    select
        * exclude (is_bypass),
        is_bypass and not (
            is_inferred and bool_and(is_bypass) over (
                partition by provider_account_id, provider_month
            )
        ) as is_bypass
    from judged
),

projects as (
    select
        provider_account_id,
        provider_month,
        provider_project_id,
        bool_and(is_bypass) as is_bypass
    from settled
    group by provider_account_id, provider_month, provider_project_id
),

final as (
    select
        stated.kind,
        stated.provider,
        stated.provider_account_id,
        stated.provider_date,
        stated.provider_month,
        stated.provider_project_id,
        stated.provider_api_key_id,
        stated.model,
        stated.unit,
        stated.service_tier,
        stated.is_batch,
        stated.currency,
        stated.line_kind,
        stated.line_item,
        cast(sum(stated.quantity) as decimal(26, 6)) as quantity,
        cast(sum(stated.amount) as decimal(38, 18)) as amount,
        bool_and(stated.has_quantity) as has_quantity,
        -- What names no model, or a cost without a key, goes with its project.
        case
            when bool_and(known_parties.provider_account_id is null) then true
            when
                stated.model is null
                or (stated.kind = 'cost' and stated.provider_api_key_id is null)
                then coalesce(bool_and(projects.is_bypass), false)
            else coalesce(bool_and(settled.is_bypass), bool_and(projects.is_bypass), false)
        end as is_bypass,
        bool_and(stated.is_complete) as is_complete,
        max(stated.observed_at) as observed_at
    from stated
    left join settled
        on
            stated.provider_account_id = settled.provider_account_id
            and stated.provider_month = settled.provider_month
            and stated.provider_project_id is not distinct from settled.provider_project_id
            and stated.provider_api_key_id is not distinct from settled.provider_api_key_id
    left join projects
        on
            stated.provider_account_id = projects.provider_account_id
            and stated.provider_month = projects.provider_month
            and stated.provider_project_id is not distinct from projects.provider_project_id
    left join known_parties
        on
            stated.provider_account_id = known_parties.provider_account_id
            and stated.provider_month = known_parties.provider_month
    group by
        stated.kind, stated.provider, stated.provider_account_id, stated.provider_date,
        stated.provider_month, stated.provider_project_id, stated.provider_api_key_id,
        stated.model, stated.unit, stated.service_tier, stated.is_batch, stated.currency,
        stated.line_kind, stated.line_item
)

select * from final
