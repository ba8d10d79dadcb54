select usage_date, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.key_daily_activity
where api_key_id = '{key}'
group by all
-- anchor
select usage_date, sum(requests) as requests, sum(billed_cost) as billed_cost
from marts.usage_records
where duplicate_of is null and api_key_id = '{key}'
group by all
