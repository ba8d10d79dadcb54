select request_id, started_at, team_id, model, http_status, error_type
from marts.usage_records
where status = 'failure' and usage_date between date '{month}-01' and last_day(date '{month}-01')
-- anchor
select max(request_id), max(started_at), max(team_id), max(model), max(http_status),
    max(error_type), max(status)
from marts.usage_records
where usage_date between date '{month}-01' and last_day(date '{month}-01')
