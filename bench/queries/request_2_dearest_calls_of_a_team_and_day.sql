select request_id, started_at, model, billed_cost
from marts.usage_records
where team_id = '{team}' and usage_date = date '{day}' and duplicate_of is null
order by billed_cost desc, request_id
limit 20
-- anchor
select count(request_id), count(started_at), count(model), sum(billed_cost), count(team_id),
    count(duplicate_of)
from marts.usage_records
where usage_date = date '{day}'
