select request_id, started_at, model, status, billed_cost
from marts.usage_records
where session_id = '{session}'
    and usage_date between date '{session_first}' - 1 and date '{session_last}' + 1
order by started_at
-- anchor
select max(request_id), max(started_at), max(model), max(status), sum(billed_cost),
    max(session_id)
from marts.usage_records
where usage_date between date '{session_first}' and date '{session_last}'
