"""What of a gateway's row is kept when it comes from an API: named fields, and no credential."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestration.landing.log_files import LogFolder, LogRow
from orchestration.sources import cloudflare_api, litellm_api, openrouter_api
from orchestration.sources.feeds import PageShapeError
from orchestration.sources.litellm_postgres import Privacy

NOON = datetime.fromisoformat("2026-11-05T12:00:00")
HIDDEN = "CANARY-PROMPT-7f3a"


def spend_log(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "chatcmpl-1",
        "api_key": "b" * 64,
        "spend": Decimal("0.0072"),
        "startTime": "2026-11-05T11:00:00.120",
        "model": "gpt-5.4-mini",
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": HIDDEN, "response": {"a": HIDDEN}, "proxy_server_request": {"b": HIDDEN}},
        {"a_new_column": HIDDEN},
        {"metadata": {"requester_metadata": {"prompt": HIDDEN}, "error_information": HIDDEN}},
        {"metadata": json.dumps({"vector_store_request_metadata": [HIDDEN]})},
        {"metadata": {"error_information": {"error_code": "500", "error_message": HIDDEN}}},
        {"metadata": {"spend_logs_metadata": {"note": HIDDEN, "env": {"x": HIDDEN}}}},
        {"metadata": HIDDEN},
        {"model": {"text": HIDDEN}},
        {"end_user": [HIDDEN]},
        {"request_tags": HIDDEN},
        {"request_tags": {"tag": HIDDEN}},
        {"api_base": f"https://u:{HIDDEN}@h/v1?x={HIDDEN}#{HIDDEN}"},
    ],
)
def test_nothing_else_of_a_spend_log_is_kept(changes: dict[str, Any]) -> None:
    row = spend_log(**changes)

    kept = litellm_api.allowed(row, Privacy())

    assert HIDDEN in json.dumps(row, default=str)
    assert HIDDEN not in json.dumps(kept, default=str)
    assert (kept["request_id"], kept["spend"]) == ("chatcmpl-1", Decimal("0.0072"))


def test_what_names_an_owner_is_kept() -> None:
    row = spend_log(
        metadata={
            "user_api_key_alias": "checkout",
            "spend_logs_metadata": {"Cost-Center": "cc-1", "env": "prod"},
            "usage_object": {"prompt_tokens": 3},
        },
        request_tags='["wf:search", "User-Agent: curl"]',
        user="u-1",
        requester_ip_address="192.0.2.7",
    )

    kept = litellm_api.allowed(row, Privacy())

    assert kept["metadata"] == {
        "user_api_key_alias": "checkout",
        "spend_logs_metadata": {"Cost-Center": "cc-1", "env": "prod"},
        "usage_object": {"prompt_tokens": 3},
    }
    assert kept["request_tags"] == ["wf:search"]
    assert kept["user"] == "u-1"
    assert "requester_ip_address" not in kept


def test_personal_fields_follow_the_settings() -> None:
    row = spend_log(user="u-1", requester_ip_address="192.0.2.7", request_tags=["User-Agent: x"])

    kept = litellm_api.allowed(row, Privacy(client_ip=True, user_agent=True, user_id=False))

    assert "user" not in kept
    assert kept["requester_ip_address"] == "192.0.2.7"
    assert kept["request_tags"] == ["User-Agent: x"]


def test_a_raw_key_and_credentials_in_callers_fields_are_not_kept() -> None:
    secret = "sk-CANARYraw0123456789"  # noqa: S105  # made up
    row = spend_log(
        api_key=secret, end_user=f"me {secret}", request_id=secret, request_tags=[secret]
    )

    kept = litellm_api.allowed(row, Privacy())

    assert secret not in json.dumps(kept, default=str)
    assert len(kept["api_key"]) == 64
    assert kept["request_id"].startswith("[sha256 ")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "created_at": "2026-11-05T11:00:00Z", "request": HIDDEN, "model": [HIDDEN]},
        {"id": "1", "created_at": "2026-11-05T11:00:00Z", "path": f"chat?prompt={HIDDEN}"},
        {"id": "1", "created_at": "2026-11-05T11:00:00Z", "metadata": f'{{"q":"{HIDDEN}"}}'},
        {"id": "1", "created_at": "2026-11-05T11:00:00Z", "metadata": HIDDEN},
    ],
)
def test_nothing_else_of_a_cloudflare_row_is_kept(row: dict[str, Any]) -> None:
    kept = cloudflare_api.allowed(row, keeps_users=True)

    assert HIDDEN not in json.dumps(kept)
    assert kept["id"] == "1"


def test_users_of_a_cloudflare_row_follow_the_settings() -> None:
    row = {"id": "1", "metadata": '{"team":"t","user_id":"u-1"}'}

    kept = cloudflare_api.allowed(row, keeps_users=False)

    assert json.loads(kept["metadata"]) == {"team": "t"}


def test_nothing_of_the_caller_is_kept_of_a_generation() -> None:
    document = {
        "data": {
            "id": "gen-1",
            "created_at": "2026-11-05T11:00:00Z",
            "http_referer": HIDDEN,
            "origin": HIDDEN,
            "user_agent": HIDDEN,
            "provider_responses": [{"status": 200, "body": HIDDEN}],
        }
    }

    kept = openrouter_api.read_generation(document)

    assert HIDDEN not in json.dumps(kept)
    assert kept["provider_responses"] == [{"status": 200}]


@pytest.mark.parametrize("document", [{}, {"data": []}, {"data": {"id": "gen-1"}}])
def test_an_answer_that_is_no_generation_is_named(document: dict[str, Any]) -> None:
    with pytest.raises(PageShapeError, match="no generation"):
        openrouter_api.read_generation(document)


def test_a_number_lands_with_the_digits_it_came_with(tmp_path: Any) -> None:
    spend = Decimal("0.00000007200000000000001")
    folder = LogFolder(tmp_path / "logs", "logs", NOON)

    folder.write([LogRow.of({"id": "1", "cost": spend}, NOON)], received={"received_rows": 1})

    (path,) = (tmp_path / "logs").glob("*.jsonl")
    read = json.loads(path.read_text(), parse_float=Decimal)
    assert read["cost"] == spend


def test_half_a_letter_is_landed_for_the_loader_to_refuse(tmp_path: Any) -> None:
    folder = LogFolder(tmp_path / "logs", "logs", NOON)

    folder.write([LogRow.of({"id": "\ud800"}, NOON)], received={})

    (path,) = (tmp_path / "logs").glob("*.jsonl")
    assert json.loads(path.read_text())["id"] == "\ud800"


def test_a_note_that_a_kill_prevented_is_written_from_its_file(tmp_path: Any) -> None:
    rows = [LogRow.of({"id": str(n), "cost": Decimal("0.10")}, NOON) for n in range(3)]
    LogFolder(tmp_path / "logs", "logs", NOON).write(rows, received={})
    (note,) = (tmp_path / "logs").glob(".*.note")
    note.unlink()

    found = LogFolder(tmp_path / "logs", "logs", NOON)

    assert found.known_hashes(NOON, NOON) == {row.row_hash for row in rows}
    assert found.known_ids() == {"0", "1", "2"}
    assert found.watermark == NOON
