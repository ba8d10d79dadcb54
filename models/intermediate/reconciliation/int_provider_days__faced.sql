{{ config(materialized='table', meta={'rows_need': ['int_provider__stated']}) }}
-- Grain: one row per UTC day of end, provider account, project, model, unit, tier, batch and
-- currency on which the provider states anything: its usage and cost beside ours.
-- Projects are compared where every record of the month is known to be of one; else the account is.

-- Tools are billed without the model that used them.
{%- set tools %}(
    'web_search_calls', 'file_search_calls', 'maps_grounding_calls', 'code_sessions', 'tool_calls'
){% endset %}

with stated as (
    select
        * exclude (model),
        case when unit is null or unit not in {{ tools }} then model end as model
    from {{ ref('int_provider__stated') }}
),

models as (
    select * from {{ ref('int_models__spelled') }}
),

prices as (
    select * from {{ ref('int_prices__known') }}
),

slices as (
    select
        sliced.* exclude (model, unit),
        case
            when sliced.unit not in {{ tools }}
                then coalesce(models.compared_model, sliced.model)
        end as model,
        {{ compared_unit('sliced.unit', 'sliced.provider') }} as unit
    from {{ ref('int_usage__sliced') }} as sliced
    left join models on sliced.provider = models.provider and sliced.model = models.model
    where
        sliced.payee = sliced.provider
        and sliced.unit <> 'other'
        and sliced.provider_account_id in (select stated.provider_account_id from stated)
),

days as (
    select
        provider_account_id,
        provider_date,
        min(provider) as provider,
        bool_or(kind = 'usage') as has_usage,
        bool_or(kind = 'cost' and line_kind = 'usage') as has_cost,
        bool_or(kind = 'cost' and quantity is not null) as has_cost_quantity,
        bool_or(unit = 'requests') as has_requests,
        max(currency) as currency,
        bool_and(is_complete) as is_complete,
        min(observed_at) as observed_at
    from stated
    group by provider_account_id, provider_date
),

months as (
    select
        provider_account_id,
        provider_month,
        array_agg(distinct provider_project_id) as projects,
        case
            when count(distinct provider_project_id) filter (where not is_bypass) = 1
                and count(*) filter (where not is_bypass and provider_project_id is null) = 0
                then min(provider_project_id) filter (where not is_bypass)
        end as only_project_id
    from stated
    where line_kind = 'usage'
    group by provider_account_id, provider_month
),

located as (
    select
        slices.*,
        coalesce(
            slices.provider_project_id,
            case
                when list_contains(months.projects, slices.project_id) then slices.project_id
            end,
            months.only_project_id
        ) as located_project_id,
        date_trunc('month', slices.provider_date) as provider_month
    from slices
    inner join months
        on
            slices.provider_account_id = months.provider_account_id
            and date_trunc('month', slices.provider_date) = months.provider_month
),

known_projects as (
    select
        provider_account_id,
        provider_month,
        bool_and(located_project_id is not null) as has_projects
    from located
    where usage_class = 'billable'
    group by provider_account_id, provider_month
),

currencies as (
    select
        provider_account_id,
        max(price_currency) as currency
    from slices
    group by provider_account_id
),

ours as (
    {% for date_column, prefix in [("provider_date", ""), ("local_provider_date", "local_")] -%}
    select
        located.{{ date_column }} as provider_date,
        located.provider_account_id,
        case when known_projects.has_projects then located.located_project_id end
            as provider_project_id,
        located.model,
        located.unit,
        located.service_tier,
        located.is_batch,
        located.price_currency as currency,
        {% for side in ["", "local_"] -%}
        {% if side == prefix -%}
        case when located.usage_class = 'billable' then located.quantity end
            as {{ side }}gateway_quantity,
        case when located.usage_class = 'billable' then located.priced_cost end
            as {{ side }}gateway_amount,
        {% else -%}
        cast(null as decimal(26, 6)) as {{ side }}gateway_quantity,
        cast(null as decimal(38, 18)) as {{ side }}gateway_amount,
        {% endif -%}
        {% endfor -%}
        {% for name in unbilled_classes() -%}
        {% if prefix == "" -%}
        case when located.usage_class = '{{ name }}' then located.quantity end
            as {{ name }}_quantity,
        case when located.usage_class = '{{ name }}' then located.priced_cost end
            as {{ name }}_cost,
        {% else -%}
        cast(null as decimal(26, 6)) as {{ name }}_quantity,
        cast(null as decimal(38, 18)) as {{ name }}_cost,
        {% endif -%}
        {% endfor -%}
        {% if prefix == "" -%}
        case when located.usage_class = 'billable' then located.unpriced_quantity end
            as unpriced_quantity,
        located.usage_class = 'billable' and located.is_partial as is_partial,
        located.unit_price,
        located.quantity,
        located.context_band,
        {% else -%}
        cast(null as decimal(26, 6)) as unpriced_quantity,
        false as is_partial,
        cast(null as decimal(38, 18)) as unit_price,
        cast(null as decimal(26, 6)) as quantity,
        cast(null as varchar) as context_band,
        {% endif -%}
        cast(null as decimal(26, 6)) as usage_quantity,
        cast(null as decimal(26, 6)) as cost_quantity,
        cast(null as decimal(38, 18)) as cost_amount,
        cast(null as decimal(26, 6)) as usage_bypass_quantity,
        cast(null as decimal(26, 6)) as cost_bypass_quantity,
        'usage' as line_kind,
        true as is_mapped
    from located
    left join known_projects
        on
            located.provider_account_id = known_projects.provider_account_id
            and located.provider_month = known_projects.provider_month
    where located.usage_class <> 'subscription'
    {{ "union all" if not loop.last }}
    {% endfor %}
),

theirs as (
    select
        stated.provider_date,
        stated.provider_account_id,
        case
            when
                stated.is_bypass or coalesce(known_projects.has_projects, true)
                or stated.line_kind <> 'usage'
                then stated.provider_project_id
        end as provider_project_id,
        stated.model,
        case when stated.line_kind = 'usage' then stated.unit else stated.line_kind end as unit,
        stated.service_tier,
        stated.is_batch,
        coalesce(stated.currency, days.currency, currencies.currency, 'USD') as currency,
        case when stated.kind = 'usage' then stated.quantity end as usage_quantity,
        case when stated.kind = 'cost' then stated.quantity end as cost_quantity,
        stated.amount as cost_amount,
        case when stated.kind = 'usage' and stated.is_bypass then stated.quantity end
            as usage_bypass_quantity,
        case when stated.kind = 'cost' and stated.is_bypass then stated.quantity end
            as cost_bypass_quantity,
        stated.line_kind,
        stated.line_kind <> 'usage' or stated.unit is not null as is_mapped,
        stated.line_kind = 'usage' and stated.unit is null and stated.line_item = '' as is_nameless
    from stated
    left join days
        on
            stated.provider_account_id = days.provider_account_id
            and stated.provider_date = days.provider_date
    left join currencies on stated.provider_account_id = currencies.provider_account_id
    left join known_projects
        on
            stated.provider_account_id = known_projects.provider_account_id
            and stated.provider_month = known_projects.provider_month
),

together as (
    select * from ours
    union all by name
    select * from theirs
),

{%- set quantities = [
    "gateway", "local_gateway", "usage", "cost", "usage_bypass", "cost_bypass", "unpriced",
] %}

summed as (
    select
        provider_date,
        provider_account_id,
        provider_project_id,
        model,
        unit,
        service_tier,
        is_batch,
        currency,
        {% for name in quantities + unbilled_classes() -%}
        cast(sum({{ name }}_quantity) as decimal(26, 6)) as {{ name }}_quantity,
        {% endfor -%}
        {% for name in ["gateway_amount", "local_gateway_amount", "cost_amount"] -%}
        cast(sum({{ name }}) as decimal(38, 18)) as {{ name }},
        {% endfor -%}
        {% for name in unbilled_classes() -%}
        cast(sum({{ name }}_cost) as decimal(38, 18)) as {{ name }}_cost,
        {% endfor -%}
        coalesce(bool_or(is_partial), false) as has_partial,
        arg_max(unit_price, (quantity, unit_price)) filter (where unit_price is not null)
            as unit_price,
        max(context_band) as context_band,
        min(line_kind) as line_kind,
        bool_and(is_mapped) as is_mapped,
        coalesce(bool_and(is_nameless), false) as is_nameless
    from together
    group by
        provider_date, provider_account_id, provider_project_id, model, unit, service_tier,
        is_batch, currency
),

-- A usage report is about some units; of others it says nothing, not nothing used.
stated_units as (
    select
        provider_account_id,
        provider_month,
        unit
    from stated
    where kind = 'usage'
    group by provider_account_id, provider_month, unit
),

covered as (
    select
        summed.*,
        days.provider,
        days.has_usage,
        days.has_cost,
        days.has_cost_quantity,
        days.is_complete,
        days.observed_at,
        row_number() over (
            order by
                summed.provider_date, summed.provider_account_id, summed.provider_project_id,
                summed.model, summed.unit, summed.service_tier, summed.is_batch, summed.currency
        ) as row_id
    from summed
    inner join days
        on
            summed.provider_account_id = days.provider_account_id
            and summed.provider_date = days.provider_date
    left join stated_units
        on
            summed.provider_account_id = stated_units.provider_account_id
            and date_trunc('month', summed.provider_date) = stated_units.provider_month
            and summed.unit = stated_units.unit
    where
        coalesce(
            summed.gateway_quantity, summed.local_gateway_quantity, summed.usage_quantity,
            summed.cost_quantity, summed.cost_amount
        ) is not null
        and case
            when summed.unit = 'requests' then days.has_requests
            else
                days.has_cost
                or stated_units.unit is not null
                or coalesce(summed.usage_quantity, 0) <> 0
        end
),

listed as (
    select
        covered.row_id,
        prices.unit_price
    from covered
    inner join prices
        on
            covered.provider = prices.provider
            and covered.model = prices.model
            and covered.unit = prices.unit
            and covered.currency = prices.currency
            and prices.is_batch = coalesce(covered.is_batch, false)
            and prices.service_tier in (covered.service_tier, 'standard')
            and prices.context_band is null
            and (
                prices.provider_account_id is null
                or covered.provider_account_id = prices.provider_account_id
            )
            and covered.provider_date + interval 1 day > prices.valid_from_at
            and covered.provider_date < prices.valid_to_at
    where covered.unit_price is null
    qualify row_number() over (
        partition by covered.row_id
        order by
            covered.service_tier = prices.service_tier desc,
            prices.list_rank asc,
            prices.valid_from_at desc,
            prices.unit_price asc
    ) = 1
),

-- On a day of a change the lists ask two prices for what the gateway did not see.
window_prices as (
    select
        covered.row_id,
        list(distinct prices.unit_price order by prices.unit_price) as window_prices
    from covered
    inner join prices
        on
            covered.provider = prices.provider
            and covered.model = prices.model
            and covered.unit = prices.unit
            and covered.currency = prices.currency
            and covered.service_tier = prices.service_tier
            and prices.is_batch = coalesce(covered.is_batch, false)
            and prices.context_band is null
            and prices.list_rank < 99
            and (
                prices.provider_account_id is null
                or covered.provider_account_id = prices.provider_account_id
            )
            and covered.provider_date + interval 1 day > prices.valid_from_at
            and covered.provider_date < prices.valid_to_at
    where
        coalesce(covered.usage_quantity, covered.cost_quantity, 0)
        <> coalesce(covered.gateway_quantity, 0)
    group by covered.row_id
    having count(distinct prices.unit_price) > 1 and count(distinct prices.list_rank) = 1
),

asked as (
    select
        covered.* exclude (unit_price),
        window_prices.window_prices,
        case
            when covered.unit = 'requests' then 0
            else coalesce(covered.unit_price, listed.unit_price)
        end as unit_price
    from covered
    left join listed on covered.row_id = listed.row_id
    left join window_prices on covered.row_id = window_prices.row_id
),

-- A cost of a whole project and day stands for all that was used there: each slice has of it what
-- its usage comes to, and what that leaves stays on the row that names nothing.
weighed as (
    select
        *,
        case
            when unit is null or unit = 'requests' or line_kind <> 'usage' then null
            when usage_quantity is null or usage_quantity = gateway_quantity then gateway_amount
            else {{ sliced_cost('usage_quantity', 'unit_price') }}
        end as share_amount,
        bool_or(is_nameless) over parties
        and not bool_or(
            line_kind = 'usage' and not is_nameless and cost_amount is not null
        ) over parties as is_of_nameless
    from asked
    window parties as (
        partition by provider_date, provider_account_id, provider_project_id, currency
    )
),

final as (
    select
        * exclude (cost_amount, share_amount, is_nameless, is_of_nameless),
        case
            when not is_of_nameless or line_kind <> 'usage' then cost_amount
            when is_nameless
                then cost_amount - coalesce(sum(share_amount) over (
                    partition by
                        provider_date, provider_account_id, provider_project_id, currency,
                        is_of_nameless
                ), 0)
            else share_amount
        end as cost_amount
    from weighed
)

select * from final
