select team_id, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.daily_spend
where strftime(usage_date, '%Y-%m') = '{month}'
group by all
-- anchor
select team_id, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.usage_records
where duplicate_of is null and strftime(usage_date, '%Y-%m') = '{month}'
group by all
