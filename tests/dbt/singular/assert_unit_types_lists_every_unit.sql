-- The seed that describes units and the macro that prices them name the same ones, but for `other`.

with described as (
    select unit
    from {{ ref('unit_types') }}
    where unit <> 'other'
),

priced as (
    {% for unit in usage_units() -%}
    select '{{ unit.name }}' as unit
    {{ "union all" if not loop.last }}
    {% endfor %}
),

compared as (
    select
        described.unit as described_unit,
        priced.unit as priced_unit
    from described
    full outer join priced on described.unit = priced.unit
    where described.unit is null or priced.unit is null
)

select * from compared
