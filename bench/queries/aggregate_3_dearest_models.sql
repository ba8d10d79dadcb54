select provider, model, sum(billed_cost) as billed_cost
from marts.daily_spend
group by all
order by billed_cost desc, model
limit 20
-- anchor
select provider, model, sum(billed_cost) as billed_cost
from marts.usage_records
where duplicate_of is null
group by all
order by billed_cost desc, model
limit 20
