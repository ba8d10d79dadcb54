select request_id, started_at, model, status, billed_cost
from marts.usage_records
where session_id = '{session}'
order by started_at
-- anchor
select count(request_id), count(started_at), count(model), count(status), sum(billed_cost),
    count(session_id)
from marts.usage_records
where usage_date between date '{session_first}' and date '{session_last}'
