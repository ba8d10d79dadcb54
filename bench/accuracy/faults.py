"""The faults of faults.yml: how each is planted, and beside it what looks like it and is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from accuracy import contracts
from accuracy.world import (
    AFTER,
    BEFORE,
    CHANGE_AT,
    DAYS,
    MILLION,
    MONTH_START,
    Call,
    Key,
    World,
    cost_of,
    log_row,
    written,
)

Plant = Callable[[World, str], None]


def lost_row(world: World, code: str) -> None:
    """The gateway never wrote a call that the application made and the provider charged."""
    call = world.call()
    world.app.append(world.app_row(call))
    world.bill(call)
    world.expect(code, "missing_usage_record", call.request_id, call.cost)
    world.miss(code, "missing_usage", call)


def repeated_id(world: World, code: str) -> None:
    """The gateway wrote one call twice under its id, a moment later."""
    call = world.call()
    world.happen(call)
    later = replace(call, at=call.at + timedelta(seconds=2))
    world.rows.append(log_row(later))
    world.expect(code, "duplicate_request_id", call.request_id, later.cost)


def reused_id(world: World, code: str) -> None:
    """An upstream gave two calls one id."""
    first, second = world.call(), world.call()
    if second.at < first.at:
        first, second = second, first
    second = replace(second, request_id=first.request_id)
    for call in (first, second):
        world.log(call)
        world.bill(call)
    world.expect(code, "id_collision", first.request_id, second.cost)


def double_logged(world: World, code: str) -> None:
    """One call sent and charged twice under two ids, in one session."""
    call = world.call()
    world.happen(call)
    again = replace(call, request_id=world.new_id(), at=call.at + timedelta(seconds=1))
    world.log(again)
    world.bill(again)
    world.expect(code, "suspected_double_charge", again.request_id, again.cost)


def made_twice(world: World) -> None:
    """The same question asked twice on purpose: minutes apart, each in its own session."""
    call = world.call()
    again = replace(
        call,
        request_id=world.new_id(),
        at=call.at + timedelta(seconds=world.rng.randrange(120, 3_000)),
        session=f"{call.session}-again",
    )
    for each in (call, again):
        world.happen(each)


def charged_failure(world: World, code: str) -> None:
    """A call that failed, delivered nothing, and was charged by the gateway."""
    call = world.call(output=0)
    world.rows.append(_failed(call, call.cost))
    world.expect(code, "charged_failure", call.request_id, call.cost)


def free_failure(world: World) -> None:
    """A failure nobody charged, and a further attempt that failed and nobody charged either."""
    world.rows.append(_failed(world.call(output=0), Decimal(0)))
    retry = _failed(world.call(output=0), Decimal(0))
    retry["metadata"]["attempted_retries"] = 1
    world.rows.append(retry)


def _failed(call: Call, spend: Decimal) -> dict[str, Any]:
    row = log_row(call, status="failure", spend=spend, completion_tokens=0)
    row["total_tokens"] = row["prompt_tokens"]
    error = {"error_code": "503", "error_class": "ServiceUnavailableError"}
    row["metadata"] = {"status": "failure", "error_information": error}
    return row


def charged_retry(world: World, code: str) -> None:
    """A second attempt that failed like the first and was charged."""
    call = world.call(output=0)
    row = _failed(call, call.cost)
    row["metadata"]["attempted_retries"] = 1
    world.rows.append(row)
    subject = f"{call.key.id}/{call.model}/{call.at:%Y-%m-%d}"
    # At stake is what it is billed, and a failure is billed nothing.
    world.expect(code, "failed_retry", subject, Decimal(0))
    world.expect(code, "charged_failure", call.request_id, call.cost)


def shared_key(world: World, code: str) -> None:
    """A key that two workflows use and no rule shares out."""
    key = Key(f"{world.name}-shared-{world.numbers}", f"{world.name}-team-1")
    world.shared_keys.append(key)
    spent = []
    for name in ("one", "two"):
        call = world.call(key=key)
        row = log_row(call)
        row["metadata"]["spend_logs_metadata"] = {"workflow": name}
        world.rows.append(row)
        world.recorded.append(call)
        world.spend(call)
        world.app.append(world.app_row(call))
        world.bill(call)
        spent.append(call.cost)
    world.expect(code, "shared_key", key.id, min(spent))


def old_price(world: World, code: str) -> None:
    """The month's invoice, and others by day, bill at a price that ended in the month's middle."""
    if world.is_billed_at_old_price:
        contracts.days_at_ended_price(world, code)
        return
    world.is_billed_at_old_price = True
    world.late_causes.append(code)


def wrong_total(world: World, code: str) -> None:
    """An invoice whose lines do not come to its total."""
    lacking = Decimal(world.rng.randrange(100, 900)) / 100
    world.wrong_totals.append(lacking)
    number = f"INV-{world.name}-X{len(world.wrong_totals)}"
    world.expect(code, "invoice_total_mismatch", number, lacking)


def other_tokens(world: World, code: str) -> None:
    """The log has more output than the answer that the application got."""
    call = world.call()
    extra = world.rng.randrange(5, 500)
    world.log(call)
    world.bill(call)
    world.app.append(world.app_row(call, output_tokens=call.output - min(extra, call.output - 1)))
    amount = min(extra, call.output - 1) * call.prices["output"] / MILLION
    world.expect(code, "token_mismatch", call.request_id, amount)


def wrong_spend(world: World, code: str) -> None:
    """The gateway charged twice what the tokens cost."""
    call = world.call(at=world.some_other_day(code))
    world.log(call, spend=call.cost * 2)
    world.app.append(world.app_row(call))
    world.bill(call)
    subject = f"{call.model}/{call.at:%Y-%m-%d}"
    world.expect(code, "cost_mismatch", subject, call.cost)


def float_noise(world: World) -> None:
    """A charge that a binary float wrote: off by less than the tolerance."""
    call = world.call()
    noise = Decimal(world.rng.choice((-1, 1))) * Decimal("1e-17")
    world.log(call, spend=call.cost + noise)
    world.app.append(world.app_row(call))
    world.bill(call)


def unknown_key(world: World, code: str) -> None:
    """A key that stands in no owner table."""
    key = Key(f"{world.name}-orphan-{world.numbers}", None)
    call = world.call(key=key)
    world.happen(call)
    world.expect(code, "orphan_key", key.id, call.cost)


def without_key(world: World, code: str) -> None:
    """A call without a key, which nobody owns: an exception of each month."""
    call = world.call(at=world.some_other_month(code, first=10))
    world.log(call, api_key="", team_id="")
    world.app.append(world.app_row(call, api_key_id=None))
    if call.at >= MONTH_START:
        world.bill(call)
    world.expect(code, "missing_owner", "no_key", call.cost, f"{call.at:%Y-%m}")


def other_tier(world: World, code: str) -> None:
    """A priority call by a key that may use standard and batch alone."""
    call = world.call(tier="priority", at=world.some_other_day(code))
    world.happen(call)
    usual = cost_of(call.parts, (AFTER if call.at >= CHANGE_AT else BEFORE)[call.model, "standard"])
    subject = f"{call.key.id}/priority/{call.at:%Y-%m-%d}"
    world.expect(code, "unusual_service_tier", subject, call.cost - usual)


def unpriced_model(world: World, code: str) -> None:
    """A model that no catalog knows, charged by the gateway."""
    call = world.call()
    model = f"{world.name}-model-{world.numbers}"
    world.rows.append(log_row(call, model=model, model_group=model))
    world.expect(code, "unpriced_usage", model, call.cost)


def without_quantity(world: World, code: str) -> None:
    """A charge without any quantity."""
    call = world.call()
    kind = f"aspeech_{world.numbers}"
    row = log_row(call, call_type="aspeech", total_tokens=0, prompt_tokens=0, completion_tokens=0)
    row["metadata"] = {"status": "success"}
    row["model"] = row["model_group"] = f"{world.name}-{kind}"
    world.rows.append(row)
    world.expect(code, "quantity_unknown", str(row["model"]), call.cost)


def backwards(world: World, code: str) -> None:
    """A call that ended before it began."""
    call = world.call(at=world.some_other_day(code))
    world.log(call, endTime=written(call.at - timedelta(seconds=40)))
    world.app.append(world.app_row(call))
    world.bill(call)
    world.expect(code, "clock_skew", f"{world.gateway}/{call.at:%Y-%m-%d}", call.cost)


def shadow_project(world: World, code: str) -> None:
    """Calls that went around the gateway, from a project it has no record of."""
    call = world.call()
    project = f"{world.project}_shadow{len(world.shadow_projects)}"
    world.shadow_projects.append(project)
    world.bill(call, project)
    world.expect(code, "bypass_traffic", project, call.cost)
    world.miss(code, "bypass_traffic", call)


def loaded_twice(world: World) -> None:
    """A row that a later export has again."""
    world.repeated_rows += 1


def before_midnight(world: World) -> None:
    """A call in the last seconds of the month."""
    world.happen(world.call(at=MONTH_START + timedelta(days=DAYS, seconds=-5), seconds=3))


PLANTS: dict[str, Plant] = {
    "lost_row": lost_row,
    "repeated_id": repeated_id,
    "reused_id": reused_id,
    "double_logged": double_logged,
    "charged_failure": charged_failure,
    "other_tokens": other_tokens,
    "wrong_spend": wrong_spend,
    "unknown_key": unknown_key,
    "without_key": without_key,
    "other_tier": other_tier,
    "unpriced_model": unpriced_model,
    "without_quantity": without_quantity,
    "backwards": backwards,
    "shadow_project": shadow_project,
    "charged_retry": charged_retry,
    "shared_key": shared_key,
    "old_price": old_price,
    "wrong_total": wrong_total,
}
LOOKALIKES: dict[str, Callable[[World], None]] = {
    "made_twice": made_twice,
    "free_failure": free_failure,
    "float_noise": float_noise,
    "before_midnight": before_midnight,
    "loaded_twice": loaded_twice,
}
