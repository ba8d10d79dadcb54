select team_id, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.team_daily_activity
where usage_date between date '{month}-01' and last_day(date '{month}-01')
group by all
-- anchor
select team_id, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.usage_records
where duplicate_of is null and usage_date between date '{month}-01' and last_day(date '{month}-01')
group by all
