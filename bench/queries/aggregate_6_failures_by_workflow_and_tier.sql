select workflow, service_tier, environment, sum(failed_requests) as failed_requests,
    sum(requests) as requests
from marts.daily_spend
group by all
-- anchor
select workflow, service_tier, environment,
    sum(case when requests > 0 and status <> 'success' then 1 else 0 end) as failed_requests,
    sum(requests) as requests
from marts.usage_records
where duplicate_of is null
group by all
