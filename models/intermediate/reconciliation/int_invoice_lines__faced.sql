{{ config(materialized='table', meta={'rows_need': ['int_invoice_lines__mapped']}) }}
-- Grain: one row per invoice line of usage, and of a line without a quantity of its own one row per
-- model, unit, tier and batch it holds: what is billed beside what is expected.
-- The window is the one whose quantity, else whose amount, the bill agrees with; where none does,
-- the days on which calls ended, in the zone of the invoice.

with lines as (
    select * from {{ ref('int_invoice_lines__mapped') }}
    where line_part = 'line' and line_kind = 'usage'
),

models as (
    select * from {{ ref('int_models__spelled') }}
),

claims as (
    select * from {{ ref('int_invoice_lines__claimed') }}
),

prices as (
    select * from {{ ref('int_prices__known') }}
),

by_day as (
    select * from {{ ref('int_invoice_lines__by_day') }}
),

-- What the days of a line with a quantity come to together.
by_line as (
    select
        invoice_line_id,
        sum(usage_quantity) as usage_quantity,
        sum(gateway_quantity) as gateway_quantity,
        {% for cause in causes_by_day() -%}
        cast(sum({{ cause }}_amount) as decimal(38, 18)) as {{ cause }}_amount
        {{- "," if not loop.last }}
        {% endfor %}
    from by_day
    group by invoice_line_id
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

keyed as (
    select
        lines.* exclude (model),
        coalesce(models.compared_model, lines.model) as model,
        lines.quantity is not null as has_quantity,
        count(*) over (partition by lines.leader_id) as alike_lines,
        row_number() over (partition by lines.leader_id order by lines.line_no desc) = 1
            as is_last_alike,
        coalesce(sum(coalesce(lines.quantity, lines.amount)) over (
            partition by lines.leader_id order by lines.line_no
            rows between unbounded preceding and 1 preceding
        ), 0) as alike_before,
        -- The last of lines alike bears what all of them were rounded by. A vendor who rounds the
        -- total alone is half a unit off with all lines together, and prints some decimals of each.
        case
            when lines.invoice_rounding = 'none' then {{ dust() }}
            when lines.invoice_rounding = 'invoice'
                then cast({{ half_minor_unit('lines.currency') }} as decimal(18, 9)) * cast(
                    1.0 / count(*) over (partition by lines.vendor, lines.invoice_number)
                    as decimal(18, 9)
                )
            when
                lines.line_no = max(lines.line_no) over (partition by lines.leader_id)
                then {{ half_minor_unit('lines.currency') }}
                    * count(*) over (partition by lines.leader_id)
            else {{ half_minor_unit('lines.currency') }}
        end as rounding_amount
    from lines
    left join models
        on
            coalesce(lines.gateway, lines.provider) = models.provider
            and lines.model = models.model
),

-- Lines alike in one document share what is expected: each what it bills, the last the rest.
leaders as (
    select
        invoice_line_id,
        has_quantity or alike_lines > 1 as is_whole
    from keyed
    where invoice_line_id = leader_id
),

{%- set bases = ["utc", "zone", "ended"] %}

sums as (
    select
        claims.invoice_line_id,
        case when not leaders.is_whole then claims.model end as model,
        case when not leaders.is_whole then claims.unit end as unit,
        case when not leaders.is_whole then claims.service_tier end as service_tier,
        case when not leaders.is_whole then claims.is_batch end as is_batch,
        max(claims.model) as our_model,
        max(claims.unit) as our_unit,
        max(claims.service_tier) filter (where claims.usage_class = 'billable') as our_tier,
        bool_or(claims.is_batch) filter (where claims.usage_class = 'billable') as our_is_batch,
        max(claims.context_band) as our_band,
        {% for basis in bases -%}
        {%- set own = "filter (where claims.basis = '" ~ basis ~ "' and claims.usage_class = 'billable')" -%}
        coalesce(sum(claims.quantity) {{ own }}, 0) as {{ basis }}_quantity,
        coalesce(sum(claims.amount) {{ own }}, 0) as {{ basis }}_amount,
        coalesce(sum(claims.priced_amount) {{ own }}, 0) as {{ basis }}_priced_amount,
        {% endfor -%}
        {% for name in unbilled_classes() -%}
        {%- set own = "filter (where claims.basis = 'ended' and claims.usage_class = '" ~ name ~ "')" -%}
        coalesce(sum(claims.quantity) {{ own }}, 0) as {{ name }}_quantity,
        coalesce(sum(claims.amount) {{ own }}, 0) as {{ name }}_cost,
        {% endfor -%}
        {%- set own = "filter (where claims.basis = 'ended' and claims.usage_class = 'billable')" %}
        coalesce(sum(claims.unpriced_quantity) {{ own }}, 0) as unpriced_quantity,
        coalesce(bool_or(claims.is_partial) {{ own }}, false) as has_partial,
        coalesce(bool_and(claims.is_key_known) {{ own }}, true) as is_key_known,
        bool_or(claims.provider_project_id is not null or claims.project_id is not null) {{ own }}
            as has_projects,
        max(claims.price_currency) {{ own }} as price_currency,
        arg_max(claims.unit_price, (claims.quantity, claims.unit_price))
            filter (where claims.unit_price is not null) as priced_at,
        sum(claims.quantity) filter (where claims.usage_class like 'usage%') as usage_quantity,
        sum(claims.quantity) filter (where claims.usage_class = 'usage_bypass') as usage_bypass,
        sum(claims.quantity) filter (where claims.usage_class like 'cost%') as cost_quantity,
        sum(claims.quantity) filter (where claims.usage_class = 'cost_bypass') as cost_bypass,
        sum(claims.amount) filter (where claims.usage_class like 'cost%') as cost_amount
    from claims
    inner join leaders on claims.invoice_line_id = leaders.invoice_line_id
    group by
        claims.invoice_line_id,
        case when not leaders.is_whole then claims.model end,
        case when not leaders.is_whole then claims.unit end,
        case when not leaders.is_whole then claims.service_tier end,
        case when not leaders.is_whole then claims.is_batch end
),

-- Requests count nothing that a bill without quantities could be about.
shared as (
    select
        keyed.* exclude (model, unit, service_tier, is_batch, unit_price),
        keyed.unit_price as stated_unit_price,
        coalesce(keyed.model, sums.model) as model,
        coalesce(keyed.unit, sums.unit) as unit,
        coalesce(keyed.service_tier, sums.service_tier) as service_tier,
        coalesce(keyed.is_batch, sums.is_batch) as is_batch,
        sums.our_model,
        sums.our_unit,
        sums.our_tier,
        sums.our_is_batch,
        sums.our_band,
        sums.has_projects,
        sums.price_currency,
        sums.priced_at,
        {% for basis in bases -%}
        {% for part in ["quantity", "amount", "priced_amount"] -%}
        coalesce(sums.{{ basis }}_{{ part }}, 0) as {{ basis }}_{{ part }},
        {% endfor -%}
        {% endfor -%}
        {% for name in unbilled_classes() -%}
        case when keyed.is_last_alike then coalesce(sums.{{ name }}_quantity, 0) else 0 end
            as {{ name }}_quantity,
        case when keyed.is_last_alike then coalesce(sums.{{ name }}_cost, 0) else 0 end
            as {{ name }}_cost,
        {% endfor -%}
        case when keyed.is_last_alike then coalesce(sums.unpriced_quantity, 0) else 0 end
            as unpriced_quantity,
        keyed.is_last_alike and coalesce(sums.has_partial, false) as has_partial,
        coalesce(sums.is_key_known, true) as is_key_known,
        {% for name in ["usage_quantity", "usage_bypass", "cost_quantity", "cost_bypass", "cost_amount"] -%}
        case when keyed.is_last_alike then sums.{{ name }} end as {{ name }},
        {% endfor -%}
        sums.invoice_line_id is not null as has_slices
    from keyed
    left join sums
        on
            keyed.leader_id = sums.invoice_line_id
            and (
                keyed.has_quantity
                or sums.unit is distinct from 'requests'
                or coalesce(sums.utc_amount, 0) <> 0
            )
),

compared as (
    select
        * exclude (
            {% for basis in bases -%}
            {{ basis }}_quantity, {{ basis }}_amount, {{ basis }}_priced_amount
            {{- "," if not loop.last }}
            {% endfor %}
        ),
        {% for basis in bases -%}
        {% for part in ["quantity", "amount", "priced_amount"] -%}
        case
            when alike_lines = 1 then {{ basis }}_{{ part }}
            else
                {{ share_until(basis, part, "alike_before + coalesce(quantity, amount)", "is_last_alike") }}
                - {{ share_until(basis, part, "alike_before", "false") }}
        end as {{ basis }}_{{ part }},
        {% endfor -%}
        {% endfor -%}
        alike_lines > 1 as is_shared
    from shared
),

-- Which window the whole line agrees with.
totaled as (
    select
        *,
        count(*) over (partition by invoice_line_id) as details,
        {% for basis in bases -%}
        sum({{ basis }}_amount) over (partition by invoice_line_id) as {{ basis }}_total,
        sum({{ basis }}_quantity) over (partition by invoice_line_id) as {{ basis }}_count,
        {% endfor -%}
        bool_or(usage_quantity is not null) over (partition by invoice_line_id) as has_usage,
        bool_or(cost_quantity is not null) over (partition by invoice_line_id) as has_costs
    from compared
),

windowed as (
    select
        *,
        case
            when has_quantity
                then case
                    when quantity = ended_count then 'ended'
                    when quantity = zone_count then 'zone'
                    when quantity = utc_count then 'utc'
                    when abs(amount - ended_total) <= rounding_amount then 'ended'
                    when abs(amount - zone_total) <= rounding_amount then 'zone'
                    when abs(amount - utc_total) <= rounding_amount then 'utc'
                    else 'ended'
                end
            when abs(amount - ended_total) <= rounding_amount then 'ended'
            when abs(amount - zone_total) <= rounding_amount then 'zone'
            when abs(amount - utc_total) <= rounding_amount then 'utc'
            else 'ended'
        end as basis
    from totaled
),

drawn as (
    select
        *,
        case when basis = 'utc' then 0 else zone_amount - utc_amount end as time_zone_amount,
        case when basis = 'ended' then ended_amount - zone_amount else 0 end
            as period_straddle_amount,
        case basis
            when 'utc' then utc_quantity
            when 'zone' then zone_quantity
            else ended_quantity
        end as our_quantity,
        case basis
            when 'utc' then utc_amount
            when 'zone' then zone_amount
            else ended_amount
        end as our_amount,
        case basis
            when 'utc' then utc_priced_amount
            when 'zone' then zone_priced_amount
            else ended_priced_amount
        end as our_priced_amount,
        case basis
            when 'utc' then utc_total
            when 'zone' then zone_total
            else ended_total
        end as our_total
    from windowed
),

-- What an invoice line lacks and the next of its kind has too much of came late.
surplus as (
    select
        *,
        case when has_quantity then quantity - our_quantity end as surplus_quantity,
        concat_ws(
            '|', vendor, coalesce(provider_account_id, ''), coalesce(provider_project_id, ''),
            coalesce(model, ''), coalesce(unit, ''), coalesce(service_tier, ''),
            coalesce(cast(is_batch as varchar), '')
        ) as line_key
    from drawn
),

neighbored as (
    select
        *,
        lag(surplus_quantity) over kin as surplus_before,
        lag(from_date) over kin as date_before,
        lead(surplus_quantity) over kin as surplus_after,
        lead(from_date) over kin as date_after
    from surplus
    window kin as (
        partition by line_key, has_quantity
        order by from_date, dated_at, invoice_number, line_no
    )
),

-- Lines of the same days are beside each other, not after.
carried as (
    select
        * exclude (surplus_before, date_before, surplus_after, date_after),
        case
            when not has_quantity then 0
            when surplus_quantity > 0 and date_before < from_date
                then greatest(least(surplus_quantity, -surplus_before), 0)
            when surplus_quantity < 0 and date_after > from_date
                then -greatest(least(-surplus_quantity, surplus_after), 0)
            else 0
        end as late_quantity
    from neighbored
),

rated as (
    select
        carried.*,
        coalesce(at_issue.rate, at_end.rate) as invoice_rate
    from carried
    left join fx_rates as at_issue
        on
            carried.price_currency <> carried.currency
            and carried.price_currency = at_issue.base_currency
            and carried.currency = at_issue.quote_currency
            and cast(carried.dated_at as date) = at_issue.rate_date
    left join fx_rates as at_end
        on
            carried.price_currency <> carried.currency
            and carried.price_currency = at_end.base_currency
            and carried.currency = at_end.quote_currency
            and carried.to_date - 1 = at_end.rate_date
),

exchangeable as (
    select
        *,
        sum({{ converted('our_priced_amount', 'invoice_rate') }}) over (
            partition by invoice_line_id
        ) as exchanged_total
    from rated
),

weighed_rates as (
    select
        *,
        sum(abs(amount - coalesce(exchanged_total, our_total)) / details) over document
            as exchanged_misfit,
        sum(abs(amount - our_total) / details) over document as own_misfit,
        count(*) filter (
            where abs(amount - coalesce(exchanged_total, our_total)) > rounding_amount
        ) over document as exchanged_misses,
        count(*) filter (where abs(amount - our_total) > rounding_amount) over document
            as own_misses
    from exchangeable
    window document as (partition by vendor, invoice_number)
),

exchanged as (
    select
        *,
        -- Only where it brings the lines of the document nearer: a rate is no reason by itself.
        case
            when invoice_rate is null or gateway is not null then 0
            when
                exchanged_misses < own_misses
                or (exchanged_misses = own_misses and exchanged_misfit < own_misfit)
                then {{ converted('our_priced_amount', 'invoice_rate') }} - our_amount
            else 0
        end as fx_amount
    from weighed_rates
),

-- What the lists in force on the days of a line ask for what it is about.
priced as (
    select
        exchanged.invoice_line_id,
        exchanged.model,
        exchanged.unit,
        exchanged.service_tier,
        exchanged.is_batch,
        exchanged.priced_at,
        exchanged.currency as line_currency,
        coalesce(exchanged.service_tier, 'standard') = prices.service_tier as is_own_tier,
        prices.unit_price,
        prices.currency,
        prices.list_rank,
        prices.valid_from_at
    from exchanged
    inner join prices
        on
            exchanged.provider = prices.provider
            and exchanged.model = prices.model
            and exchanged.unit = prices.unit
            and prices.is_batch = coalesce(exchanged.is_batch, false)
            and prices.service_tier in (coalesce(exchanged.service_tier, 'standard'), 'standard')
            and prices.context_band is null
            and (
                prices.provider_account_id is null
                or exchanged.provider_account_id = prices.provider_account_id
            )
            and exchanged.to_date > prices.valid_from_at
            and exchanged.from_date < prices.valid_to_at
    where exchanged.gateway is null
),

listed as (
    select
        invoice_line_id,
        model,
        unit,
        service_tier,
        is_batch,
        unit_price,
        currency
    from priced
    where priced_at is null
    qualify row_number() over (
        partition by invoice_line_id, model, unit, service_tier, is_batch
        order by is_own_tier desc, list_rank asc, valid_from_at desc, unit_price asc
    ) = 1
),

best_lists as (
    select *
    from priced
    where is_own_tier and currency = line_currency
    qualify list_rank = min(list_rank) over (
        partition by invoice_line_id, model, unit, service_tier, is_batch
    )
),

window_prices as (
    select
        invoice_line_id,
        model,
        unit,
        service_tier,
        is_batch,
        list(distinct unit_price order by unit_price) as window_prices
    from best_lists
    group by invoice_line_id, model, unit, service_tier, is_batch
    having count(distinct unit_price) > 1
),

seen_accounts as (
    select
        invoice_line_id,
        bool_or(basis in ('utc', 'zone', 'ended')) as is_seen
    from claims
    group by invoice_line_id
),

seen_vendors as (
    select
        keyed.vendor,
        keyed.invoice_number,
        bool_or(seen_accounts.is_seen) as is_seen
    from keyed
    inner join seen_accounts on keyed.invoice_line_id = seen_accounts.invoice_line_id
    group by keyed.vendor, keyed.invoice_number
),

lined as (
    select
        exchanged.invoice_line_id,
        concat_ws(
            '|', exchanged.vendor, exchanged.invoice_number,
            coalesce(exchanged.provider_project_id, ''), exchanged.from_date, exchanged.to_date,
            case
                when exchanged.has_quantity or (exchanged.details = 1 and exchanged.has_usage)
                    then ''
                else exchanged.invoice_line_id
            end
        ) as family,
        exchanged.provider,
        exchanged.model,
        exchanged.unit,
        exchanged.service_tier,
        exchanged.is_batch,
        coalesce(exchanged.our_model, exchanged.model) as our_model,
        coalesce(exchanged.our_unit, exchanged.unit) as our_unit,
        coalesce(exchanged.our_tier, exchanged.service_tier, 'standard') as our_tier,
        coalesce(exchanged.our_is_batch, exchanged.is_batch, false) as our_is_batch,
        exchanged.our_band,
        exchanged.currency,
        case
            when exchanged.has_quantity then exchanged.quantity
            when
                abs(exchanged.amount - exchanged.our_total) <= exchanged.rounding_amount
                and not (exchanged.details = 1 and exchanged.has_usage)
                then null
            when exchanged.has_usage then coalesce(exchanged.usage_quantity, 0)
            when exchanged.has_costs then coalesce(exchanged.cost_quantity, 0)
        end as vendor_quantity,
        case
            when exchanged.has_quantity or exchanged.details = 1 then exchanged.amount
            when abs(exchanged.amount - exchanged.our_total) <= exchanged.rounding_amount then null
            else exchanged.cost_amount
        end as vendor_amount,
        coalesce(
            exchanged.stated_unit_price,
            case
                when exchanged.has_quantity and exchanged.quantity <> 0
                    then cast(exchanged.amount / exchanged.quantity as decimal(38, 18))
            end
        ) as vendor_unit_price,
        exchanged.our_quantity,
        cast(exchanged.our_amount + exchanged.fx_amount as decimal(38, 18)) as expected_amount,
        cast(
            case
                when exchanged.fx_amount <> 0 or exchanged.price_currency <> exchanged.currency
                    then {{ converted('exchanged.priced_at', 'exchanged.invoice_rate') }}
                when exchanged.gateway is not null
                    then case
                        when exchanged.our_quantity > 0
                            then exchanged.our_amount / exchanged.our_quantity
                    end
                else coalesce(
                    exchanged.priced_at,
                    case when listed.currency = exchanged.currency then listed.unit_price end
                )
            end as decimal(38, 18)
        ) as unit_price,
        window_prices.window_prices,
        {% for name in unbilled_classes() -%}
        exchanged.{{ name }}_quantity,
        exchanged.{{ name }}_cost,
        {% endfor -%}
        exchanged.has_partial,
        coalesce(
            case when exchanged.has_usage then exchanged.usage_bypass else exchanged.cost_bypass end,
            0
        ) as bypass_quantity,
        case
            when exchanged.provider_project_id is not null
                then coalesce(seen_accounts.is_seen, false)
            else coalesce(seen_vendors.is_seen, false)
        end as is_seen,
        case
            when
                exchanged.priced_at is null and listed.unit_price is null
                and exchanged.our_quantity > 0
                then exchanged.our_quantity
            else exchanged.unpriced_quantity
        end as unpriced_quantity,
        cast(exchanged.late_quantity as decimal(26, 6)) as late_quantity,
        exchanged.rounding_amount,
        cast(exchanged.utc_quantity as decimal(26, 6)) as utc_quantity,
        cast(exchanged.utc_amount as decimal(38, 18)) as utc_amount,
        cast(exchanged.time_zone_amount as decimal(38, 18)) as time_zone_amount,
        cast(exchanged.period_straddle_amount as decimal(38, 18)) as period_straddle_amount,
        cast(exchanged.fx_amount as decimal(38, 18)) as fx_amount,
        exchanged.has_quantity,
        exchanged.has_slices,
        exchanged.is_key_known,
        coalesce(exchanged.has_projects and exchanged.provider_project_id is not null, false)
            as is_of_project,
        -- The provider's days speak for the line if they come to its quantity and to ours.
        {% for cause in causes_by_day() -%}
        case
            when
                exchanged.is_shared or exchanged.late_quantity <> 0
                or exchanged.price_currency <> exchanged.currency
                then null
            when
                exchanged.has_quantity
                and exchanged.quantity = by_line.usage_quantity
                and exchanged.our_quantity = by_line.gateway_quantity
                then by_line.{{ cause }}_amount
            when
                not exchanged.has_quantity
                and exchanged.usage_quantity = by_day.usage_quantity
                and exchanged.our_quantity = by_day.gateway_quantity
                and abs(exchanged.amount - exchanged.our_total) > exchanged.rounding_amount
                then by_day.{{ cause }}_amount
        end as day_{{ cause }}_amount
        {{- "," if not loop.last }}
        {% endfor %}
    from exchanged
    left join by_line on exchanged.invoice_line_id = by_line.invoice_line_id
    left join by_day
        on
            exchanged.invoice_line_id = by_day.invoice_line_id
            and exchanged.model = by_day.model
            and exchanged.unit = by_day.unit
            and exchanged.service_tier = by_day.service_tier
            and exchanged.is_batch = by_day.is_batch
    left join listed
        on
            exchanged.invoice_line_id = listed.invoice_line_id
            and exchanged.model = listed.model
            and exchanged.unit = listed.unit
            and exchanged.service_tier is not distinct from listed.service_tier
            and exchanged.is_batch is not distinct from listed.is_batch
    left join window_prices
        on
            exchanged.invoice_line_id = window_prices.invoice_line_id
            and exchanged.model = window_prices.model
            and exchanged.unit = window_prices.unit
            and exchanged.service_tier is not distinct from window_prices.service_tier
            and exchanged.is_batch is not distinct from window_prices.is_batch
    left join seen_accounts on exchanged.invoice_line_id = seen_accounts.invoice_line_id
    left join seen_vendors
        on
            exchanged.vendor = seen_vendors.vendor
            and exchanged.invoice_number = seen_vendors.invoice_number
),

-- Ours that no line bills, beside the lines of each document that could have.
unbilled as (
    select
        claims.family,
        claims.model,
        claims.unit,
        claims.service_tier,
        claims.is_batch,
        claims.currency,
        sum(claims.quantity) as our_quantity,
        sum(claims.amount) as our_amount
    from claims
    where claims.invoice_line_id is null
    group by
        claims.family, claims.model, claims.unit, claims.service_tier, claims.is_batch,
        claims.currency
),

together as (
    select * from lined
    union all by name
    select
        family,
        model,
        unit,
        service_tier,
        is_batch,
        model as our_model,
        unit as our_unit,
        service_tier as our_tier,
        is_batch as our_is_batch,
        currency,
        0 as vendor_quantity,
        cast(0 as decimal(38, 18)) as vendor_amount,
        our_quantity,
        coalesce(our_amount, 0) as expected_amount,
        {% for name in unbilled_classes() -%}
        0 as {{ name }}_quantity,
        0 as {{ name }}_cost,
        {% endfor -%}
        false as has_partial,
        0 as bypass_quantity,
        true as is_seen,
        0 as unpriced_quantity,
        0 as late_quantity,
        0 as rounding_amount
    from unbilled
),

final as (
    select
        row_number() over (
            order by
                invoice_line_id nulls last, family, model, unit, service_tier, is_batch, currency
        ) as row_id,
        *
    from together
)

select * from final
