select request_id, started_at, model, billed_cost
from marts.usage_records
where team_id = '{team}' and usage_date = date '{day}' and duplicate_of is null
order by billed_cost desc, request_id
limit 20
-- anchor
select max(request_id), max(started_at), max(model), sum(billed_cost), max(team_id),
    max(duplicate_of)
from marts.usage_records
where usage_date = date '{day}'
