"""The reviews that are due, as published."""

from __future__ import annotations

from datetime import date, timedelta

from orchestration.config import Runtime
from orchestration.warehouse.connection import open_reader
from orchestration.warehouse.reading import published_file

WEEKLY, MONTH_END = "weekly", "month_end"
# A light review looks at what began in the week before it.
_LIGHT_DAYS = 7


def due_reviews(runtime: Runtime, kind: str) -> list[tuple[str, date, str, str]]:
    """Account, day, kind and event of what a weekly or a month-end review looks at.

    A weekly one: what became due in the seven days before the clock, of exceptions those of the
    month. A month-end one: every month that is over and not closed, whenever it ended.

    Raises:
        NotPublishedError: no run has published yet.
    """
    today = runtime.as_of.date()
    since = today - timedelta(days=_LIGHT_DAYS)
    where = (
        "review_kind = 'month_end'"
        if kind == MONTH_END
        else "review_kind <> 'month_end' and due_date > case subject_type "
        f"when 'exception' then date '{since.replace(day=1)}' - 1 else date '{since}' end"
    )
    with open_reader(published_file(runtime)) as connection:
        return connection.execute(
            "select account_id, due_date, review_kind, started_by from marts.reviews "
            f"where status = 'due' and due_date <= date '{today}' and {where} order by all"
        ).fetchall()
