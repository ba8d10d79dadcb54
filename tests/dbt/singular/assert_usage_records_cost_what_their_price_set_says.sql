-- The cost of a record is still its quantities at the prices of the set it names, so the lines that
-- readers derive from both add up to it. Days that were not built again were proven when they were.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where
        {{ in_touched_days('started_at') }}
        and cost_status in ('priced', 'free')
        and list_cost <> 0
),

prices as (
    select * from {{ ref('price_sets') }}
),

compared as (
    select
        usage.usage_record_id,
        usage.list_cost,
        usage.fx_rate,
        {% for unit in usage_units() -%}
        {{ list_cost_of(unit) }}
        {{ "+ " if not loop.last }}
        {%- endfor %} as cost_of_lines
    from usage
    left join prices on usage.price_set_id = prices.price_set_id
)

select *
from compared
where list_cost is distinct from {{ converted('cost_of_lines', 'fx_rate') | indent(4) }}
