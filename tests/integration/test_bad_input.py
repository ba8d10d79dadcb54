"""Hostile files: alone and all together they end as the contract says, and nothing leaks."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from fixtures.hostile_files import APP, COUNTS, PRICES, hostile_files, zst
from fixtures.hostile_providers import COSTS as COSTS_PAGES
from fixtures.hostile_rows import LOGS, HostileFile
from fixtures.loader_homes import LoaderHome, codes_of, outcome_of, touch
from fixtures.payment_files import CREATED, checkout, invoice, razorpay_event, stripe_webhook
from fixtures.provider_pages import (
    anthropic_bucket,
    anthropic_page,
    cost_line,
    focus_charge,
    gcp_row,
    messages,
    openai_bucket,
    openai_page,
)
from fixtures.spend_logs import key_hash, lines, parquet, row, table, with_text

from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.ledger import Batch
from orchestration.warehouse.load import load_landing
from orchestration.warehouse.retry import retry_quarantine

HOSTILE = hostile_files()
FOLDERS = {
    "gateway_spendlogs_jsonl": LOGS,
    "gateway_spendlogs_csv": LOGS,
    "gateway_spendlogs_parquet": LOGS,
    "price_catalog": PRICES,
    "stripe_event": "stripe_hooks",
    "stripe_webhook_http": "stripe_hooks",
    "razorpay_event": "razorpay_hooks",
    "invoice": "invoices",
    "openai_costs_page": COSTS_PAGES,
}
# Rows of raw that staging sets aside for the same business fact; the load keeps all of them.
SET_ASIDE_IN_STAGING = {"st_one_payment_three_events.jsonl": 2}
Verdict = dict[str, object]


def verdict_of(batch: Batch) -> Verdict:
    """What the ledger says of a file, as far as the corpus requires it."""
    return {
        "outcome": outcome_of(batch),
        "rows_in": batch.rows_in,
        "rows_loaded": batch.rows_loaded + batch.rows_already_known,
        "rows_quarantined": batch.rows_quarantined,
        "rows_flagged": batch.rows_flagged,
        "codes": codes_of(batch),
    }


def adds_up(batch: Batch) -> bool:
    """The guarantee for every file."""
    parts = (batch.rows_loaded, batch.rows_already_known, batch.rows_quarantined)
    return batch.rows_in == sum(parts) and min(parts) >= 0


# ---------------------------------------------------------------- (a) the shared corpus


def read_manifest(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        yield from (line for line in csv.DictReader(stream) if line["source_type"] in FOLDERS)


def required(line: dict[str, str]) -> Verdict:
    return {
        "outcome": line["required_outcome"],
        "rows_in": int(line["rows_in"]),
        "rows_loaded": int(line["rows_loaded"]),
        "rows_quarantined": int(line["rows_quarantined"]),
        "rows_flagged": int(line["rows_flagged"]),
        "codes": set(filter(None, line["codes"].split(";"))),
    }


def copy_in(home: LoaderHome, corpus: Path, line: dict[str, str]) -> None:
    target = home.folder(FOLDERS[line["source_type"]]) / line["file"]
    shutil.copyfile(corpus / line["file"], target)
    touch(target)


@pytest.mark.shared
def test_every_file_of_the_shared_corpus_alone_ends_as_its_manifest_says(
    shared: Path, tmp_path: Path, empty_warehouse: Path
) -> None:
    corpus = shared / "badinput"
    found, wanted = {}, {}

    for line in read_manifest(corpus):
        home = LoaderHome.create(tmp_path / line["file"], empty_warehouse)
        copy_in(home, corpus, line)
        (batch,) = home.load().batches
        assert adds_up(batch), line["file"]
        wanted[line["file"]] = {
            **required(line),
            "rows_already_known": int(line["rows_duplicate_in_staging"])
            - SET_ASIDE_IN_STAGING.get(line["file"], 0),
        }
        found[line["file"]] = {
            **verdict_of(batch),
            "rows_already_known": batch.rows_already_known,
        }

    assert len(found) > 80
    assert found == wanted


@pytest.mark.shared
def test_the_shared_corpus_in_one_landing_folder_ends_as_its_manifest_says(
    shared: Path, loader_home: LoaderHome
) -> None:
    corpus = shared / "badinput"
    for line in read_manifest(corpus):
        copy_in(loader_home, corpus, line)

    report = loader_home.load()

    found = {Path(batch.file_name).name: verdict_of(batch) for batch in report.batches}
    assert found == {line["file"]: required(line) for line in read_manifest(corpus)}
    assert all(adds_up(batch) for batch in report.batches)
    assert report.strays == report.unsettled == ()


@pytest.mark.shared
def test_amounts_of_the_shared_corpus_are_stored_to_the_last_digit(
    shared: Path, loader_home: LoaderHome
) -> None:
    corpus = shared / "badinput"
    names = ("sl_tiny_spend.jsonl", "sl_exact_decimal.jsonl", "sl_negative_zero.jsonl")
    for line in read_manifest(corpus):
        if line["file"] in names:
            copy_in(loader_home, corpus, line)

    loader_home.load()

    sums = dict(
        loader_home.query("""
            select parse_filename(_source_file), sum(spend)
            from raw.litellm__spend_logs group by all
            """)
    )
    text = (corpus / "sl_exact_decimal.jsonl").read_text()
    assert sums["sl_tiny_spend.jsonl"] == Decimal("3.5E-13")
    assert sums["sl_exact_decimal.jsonl"] == json.loads(text, parse_float=Decimal)["spend"]
    assert str(sums["sl_negative_zero.jsonl"]) == "0E-18"


# ---------------------------------------------------------------- (b) our own corpus


def expected(file: HostileFile) -> Verdict:
    return {
        "outcome": file.outcome,
        "rows_in": file.rows_in,
        "rows_loaded": file.rows_loaded,
        "rows_quarantined": file.rows_quarantined,
        "rows_flagged": file.rows_flagged,
        "codes": set(file.codes),
    }


@pytest.mark.parametrize("file", HOSTILE, ids=lambda file: f"{file.source}/{file.name!a}")
def test_a_hostile_file_alone_ends_as_required(file: HostileFile, loader_home: LoaderHome) -> None:
    loader_home.drop(file.name, file.data, source=file.source)
    runtime = loader_home.runtime()

    # One connection for both: opening a file takes longer than loading one of some bytes.
    with open_warehouse(runtime) as connection:
        (batch,) = load_landing(connection, runtime, progress=lambda _line: None).batches
        stored = connection.execute("""
            select status, (select count(*) from audit.quarantine) from audit.load_batches
            """).fetchall()

    assert verdict_of(batch) == expected(file), file.why
    assert batch.rows_already_known == file.rows_known
    assert adds_up(batch)
    assert stored == [(batch.status, file.rows_quarantined)]


def test_hostile_files_in_one_landing_folder_do_not_hinder_one_another(
    loader_home: LoaderHome,
) -> None:
    for file in HOSTILE:
        loader_home.drop(file.name, file.data, source=file.source)
    copies = Counter((file.source, file.data) for file in HOSTILE)

    report = loader_home.load()

    found = {batch.file_name: verdict_of(batch) for batch in report.batches}
    wanted = {
        f"{file.source}/{file.name}": expected(file)
        for file in HOSTILE
        if copies[file.source, file.data] == 1
    }
    assert {name: found[name] for name in wanted} == wanted
    assert len(report.batches) == len(HOSTILE)
    assert all(adds_up(batch) for batch in report.batches)
    assert loader_home.load().batches == []


def test_the_corpus_has_a_file_for_every_reason_this_loader_can_give() -> None:
    from orchestration.core.refusals import FILE_CODES, ROW_CODES

    covered = set().union(*(file.codes for file in HOSTILE))

    # That of links, which no bytes can be.
    assert FILE_CODES - covered == {"not_regular_file"}
    assert ROW_CODES - covered == set()


@pytest.mark.parametrize("target", ["good", "missing", "folder", "pipe"])
def test_what_is_no_regular_file_is_rejected_and_never_opened(
    target: str, loader_home: LoaderHome, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(lines(row(1)))
    place = loader_home.folder() / "link.jsonl"
    if target == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"good": outside, "missing": tmp_path / "no", "folder": tmp_path}[target])
    touch(place)

    (batch,) = loader_home.load().batches

    assert (batch.status, batch.reason_code, batch.rows_in) == ("rejected", "not_regular_file", 0)
    assert outside.read_bytes() == lines(row(1))


def test_a_linked_folder_is_not_entered(loader_home: LoaderHome, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jsonl").write_bytes(lines(row(1)))
    (loader_home.landing / "litellm_files").symlink_to(tmp_path / "outside")

    report = loader_home.load()

    assert (report.batches, report.strays) == ([], ("litellm_files",))


def test_a_name_that_is_not_utf_8_is_left_for_a_person(loader_home: LoaderHome) -> None:
    path = os.fsencode(loader_home.folder()) + b"/bad\xff.jsonl"
    Path(os.fsdecode(path)).write_bytes(lines(row(1)))
    loader_home.drop("good.jsonl", lines(row(2)))

    report = loader_home.load()

    assert report.strays == ("litellm_files/bad\\udcff.jsonl",)
    assert [batch.rows_loaded for batch in report.batches] == [1]


def test_hidden_and_unfinished_files_are_ignored(loader_home: LoaderHome) -> None:
    for name in (".hidden.jsonl", "copying.jsonl.tmp", "copying.jsonl.part"):
        loader_home.drop(name, lines(row(1)))

    report = loader_home.load()

    assert (report.batches, report.strays, report.unsettled) == ([], (), ())


def test_retried_bytes_under_another_name_add_nothing(loader_home: LoaderHome) -> None:
    data = lines(row(1), row(2), row(3, spend=-1))
    loader_home.drop("first.jsonl", data)
    loader_home.load()
    loader_home.drop("second.jsonl", data)

    (batch,) = loader_home.load().batches

    assert (batch.status, batch.rows_in, batch.rows_already_known) == ("already_known", 3, 3)
    assert adds_up(batch)
    assert loader_home.query("select count(*) from raw.litellm__spend_logs") == [(2,)]


# ---------------------------------------------------------------- (c) nothing leaks

PROMPT = "CANARY-PROMPT-9d41c7"
RAW_KEY = "sk-CANARYrawkey77aa31bc09de"
CANARIES = (PROMPT, "CANARYrawkey77aa31bc09de")


def content_of(canary: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": canary}], "note": {canary: {canary: [canary]}}}


def canary_rows() -> list[bytes | dict[str, object]]:
    """Rows that carry a prompt where content can stand, and a raw key wherever a text can."""
    good = [
        row(1, messages=[{"content": PROMPT}], response={"choices": [PROMPT]}),
        row(2, proxy_server_request={PROMPT: PROMPT}, messages=PROMPT, response=RAW_KEY),
        row(3, metadata={"guardrail_information": [content_of(PROMPT), content_of(RAW_KEY)]}),
        row(
            4,
            status="failure",
            metadata={
                "error_information": {
                    "error_code": RAW_KEY,
                    "error_class": f"AuthenticationError {RAW_KEY}",
                    "error_message": f"{PROMPT} {RAW_KEY}",
                    "traceback": f"{PROMPT} {RAW_KEY}",
                }
            },
        ),
        row(5, api_key=RAW_KEY, metadata={"user_api_key": RAW_KEY, "user_api_key_alias": RAW_KEY}),
        row(6, api_base=f"https://{RAW_KEY}@host/{RAW_KEY}/v1?key={RAW_KEY}#{PROMPT}"),
        row(7, request_tags=[f"env:{RAW_KEY}", RAW_KEY, f"User-Agent: {PROMPT}"]),
        row(8, model=f"gpt {RAW_KEY}", model_group=RAW_KEY, model_id=RAW_KEY, end_user=RAW_KEY),
        row(9, user=RAW_KEY, team_id=RAW_KEY, organization_id=RAW_KEY, session_id=RAW_KEY),
        row(10, request_id=RAW_KEY, litellm_call_id=RAW_KEY, requester_ip_address=RAW_KEY),
        row(11, metadata={"spend_logs_metadata": {"env": RAW_KEY, PROMPT: PROMPT, RAW_KEY: "x"}}),
        row(12, metadata={PROMPT: 1, "usage_object": {PROMPT: 1, "service_tier": RAW_KEY}}),
        row(13, metadata=json.dumps(content_of(PROMPT)), request_tags=json.dumps([RAW_KEY])),
        row(14, metadata=f"{{broken {PROMPT}", request_tags=f"{PROMPT}"),
        row(
            15,
            call_type="aretrieve_batch",
            metadata={
                "usage_object": {"batch_usage_by_model": {f"m {RAW_KEY}": {"prompt_tokens": 1}}}
            },
        ),
        {**row(16), PROMPT: PROMPT, RAW_KEY: RAW_KEY},
        row(17, cache_key=PROMPT, metadata={"user_agent": f"{PROMPT} {RAW_KEY}"}),
    ]
    content = {"messages": PROMPT, "response": RAW_KEY, "metadata": content_of(PROMPT)}
    refused = [
        row(30, spend=-1, **content),
        row(31, spend=f"{PROMPT} is what was asked", **content),
        row(32, startTime=f"{PROMPT} at noon", **content),
        row(33, prompt_tokens=f"{PROMPT} tokens", **content),
        row(34, model={PROMPT: PROMPT}, **content),
        row(35, request_id=None, api_key=RAW_KEY, **content),
        row(36, request_id=RAW_KEY, spend=-1, team_id=RAW_KEY, model=RAW_KEY),
        row(37, spend=RAW_KEY),
        row(39, metadata={"spend_logs_metadata": {"env": PROMPT * 500}}),
        row(40, metadata={"spend_logs_metadata": {f"{PROMPT} env": "x" * 5000}}, spend=-1),
        with_text(row(41, **content), "spend", f'1, "{PROMPT}": 1, "{PROMPT}": 2'),
        with_text(row(42, **content), "model", f'"{PROMPT}\\u0000"'),
        f'{{"{PROMPT}": "{RAW_KEY}", broken'.encode(),
        f'["{PROMPT}"]'.encode(),
        f'"{PROMPT}"'.encode(),
    ]
    return [*good, *refused]


def traces_of_canaries(folder: Path) -> list[tuple[str, str]]:
    """(file, canary) for every file below a folder that holds one, in its name or its bytes."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = os.fsencode(path.relative_to(folder))
        if path.is_file():
            content += readable_content(path)
        found += [(path.name, canary) for canary in CANARIES if canary.encode() in content]
    return found


def readable_content(path: Path) -> bytes:
    """A file's bytes, and those of its rows where it is a database or Parquet.

    Both compress text, so that a search of the bytes alone proves nothing.
    """
    content = path.read_bytes()
    with duckdb.connect() as connection:
        if path.suffix == ".duckdb":
            connection.execute(f"attach '{path}' as seen (read_only)")
            tables = connection.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = 'seen'"
            ).fetchall()
            for schema, name in tables:
                rows = connection.execute(f'select * from seen."{schema}"."{name}"').fetchall()
                content += repr(rows).encode()
        elif path.suffix == ".parquet":
            rows = connection.execute("select * from read_parquet(?)", [str(path)]).fetchall()
            notes = connection.execute(
                "select decode(value) from parquet_kv_metadata(?)", [str(path)]
            ).fetchall()
            content += repr(rows).encode() + repr(notes).encode()
    return content


def drop_canaries(home: LoaderHome) -> None:
    rows = canary_rows()
    objects = [each for each in rows if isinstance(each, dict)]
    # In CSV an object is text like any other, and a text may stand in a text's place.
    same_fields = [
        each
        for each in objects
        if each.keys() == row(1).keys() and not isinstance(each["model"], dict)
    ]
    home.drop("lines.jsonl", lines(*rows))
    home.drop("lines.jsonl.gz", gzip.compress(lines(*rows, row(90))))
    home.drop("lines.jsonl.zst", zst(lines(*rows, row(91))))
    home.drop("list.json", json.dumps([*objects, row(92), PROMPT, [PROMPT]]))
    home.drop("page.json", json.dumps({"data": objects, "next": PROMPT, PROMPT: RAW_KEY}))
    home.drop("table.csv", table(*same_fields))
    plain = [row(1, messages=PROMPT, response=RAW_KEY), row(2, api_key=RAW_KEY, user=RAW_KEY)]
    home.drop("table.parquet", parquet(*plain, row(3, messages=PROMPT, spend=-1.0)))
    # A column slipped: the prompt stands where the time should.
    slipped = {**row(4), "startTime": f"{PROMPT} please", "endTime": row(4)["startTime"]}
    home.drop("slipped.csv", table(row(5), slipped))


def test_the_search_for_canaries_finds_a_planted_one(loader_home: LoaderHome) -> None:
    loader_home.drop("good.jsonl", lines(*(row(n) for n in range(50))))
    loader_home.load()
    assert traces_of_canaries(loader_home.path) == []

    loader_home.query(f"update raw.litellm__spend_logs set model = '{PROMPT} {RAW_KEY}'")
    (loader_home.path / "some.log").write_text(f"x{RAW_KEY}")
    evidence = loader_home.folder() / "good.jsonl.scrubbed.parquet"
    evidence.write_bytes(parquet(*(row(n, model=f"m {PROMPT}") for n in range(50))))

    traces = set(traces_of_canaries(loader_home.path))

    prompt, key = CANARIES
    assert {("warehouse.duckdb", prompt), ("warehouse.duckdb", key), ("some.log", key)} <= traces
    assert ("good.jsonl.scrubbed.parquet", prompt) in traces


def test_no_prompt_and_no_raw_key_is_left_anywhere_after_a_load(
    loader_home: LoaderHome,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    drop_canaries(loader_home)
    assert len(traces_of_canaries(loader_home.path)) > 10
    said: list[str] = []

    report = loader_home.load(progress=said.append)

    assert {batch.status for batch in report.batches} == {"loaded"}
    assert report.total("rows_quarantined") > 50
    assert traces_of_canaries(loader_home.path) == []
    spoken = "".join([*said, *capfd.readouterr(), caplog.text, repr(report)])
    assert not [canary for canary in CANARIES if canary in spoken]


def test_what_replaces_a_raw_key_still_tells_one_from_another(loader_home: LoaderHome) -> None:
    other = RAW_KEY + "0"
    rows = [row(n, api_key=key, request_id=key) for n, key in enumerate((RAW_KEY, other), 1)]
    loader_home.drop("keys.jsonl", lines(*rows))

    loader_home.load()

    stored = loader_home.query("select api_key_id, request_id from raw.litellm__spend_logs")
    assert {key for key, _ in stored} == {key_hash(RAW_KEY), key_hash(other)}
    assert len({request_id for _, request_id in stored}) == 2


def test_files_of_other_kinds_keep_no_canary_in_the_warehouse(loader_home: LoaderHome) -> None:
    request = {"gateway": "litellm", "model": RAW_KEY, "occurred_at": "2026-06-15T10:00:00Z"}
    requests = [
        {**request, "request_id": RAW_KEY, "api_key_id": RAW_KEY, "trace_id": RAW_KEY},
        {**request, "request_id": "a", "prompt": PROMPT, "expected_cost": f"{PROMPT} dollars"},
        {**request, "request_id": "b", PROMPT: PROMPT, "input_tokens": f"{PROMPT}"},
    ]
    loader_home.drop("app.jsonl", lines(*requests), source=APP)
    count = {"gateway": "litellm", "hour_at": "2026-06-15T10:00:00Z", "requests": f"{PROMPT} many"}
    loader_home.drop("counts.jsonl", lines(count, {**count, "requests": 1}), source=COUNTS)
    header = (
        "provider,model,unit,unit_price,unit_size,currency,valid_from_at,observed_at,source,note"
    )
    unit = "input_text_uncached_tokens"
    price = f"openai,m,{unit},{RAW_KEY},1000000,USD,2026-05-01,2026-06-01,s,{PROMPT}"
    loader_home.drop("prices.csv", f"{header}\n{price}\n", source=PRICES)

    loader_home.load()

    # These files stay as they are: their kinds hold no content.
    traces = {name for name, _ in traces_of_canaries(loader_home.path)}
    assert traces == {"app.jsonl", "counts.jsonl", "prices.csv"}


CARD = "4242-CANARY-CARD"


def payments_with_free_text() -> dict[str, bytes]:
    """Files of payments in which every text a person could have written is a canary."""
    free = {
        "description": PROMPT,
        "statement_descriptor": PROMPT,
        "receipt_email": f"{PROMPT}@example.invalid",
        "customer_details": {"name": PROMPT, "email": PROMPT, "address": {"line1": PROMPT}},
        "payment_method_details": {"card": {"last4": CARD, "fingerprint": CARD}},
        "card": {"last4": CARD, "name": PROMPT},
        "vpa": f"{PROMPT}@upi",
        "email": PROMPT,
        "contact": CARD,
        "error_description": PROMPT,
        "cancellation_reason": PROMPT,
    }
    notes = {"wallet_id": "w-1", "comment": PROMPT, PROMPT: CARD}
    checkouts = [checkout(1, **free, metadata=notes), checkout(2, -5, **free, metadata=notes)]
    captured = [
        razorpay_event(1, **free, notes=notes),
        razorpay_event(2, **{**free, "amount": 0.5}, notes=notes),
        razorpay_event(3, **free, event="subscription.charged", notes=notes),
    ]
    return {
        "stripe_hooks/events.jsonl": lines(*checkouts, {**checkouts[0], "type": PROMPT[:6]}),
        "stripe_hooks/hook.json": json.dumps(stripe_webhook(checkouts[0])).encode(),
        "stripe_hooks/forged.json": json.dumps(
            {**stripe_webhook(checkouts[0]), "body": json.dumps(checkouts[1])}
        ).encode(),
        "razorpay_hooks/events.jsonl": lines(*captured),
        "invoices/one.json": json.dumps(
            invoice(1, notes=PROMPT, bill_to={"name": PROMPT})
        ).encode(),
        "invoices/two.json": json.dumps(invoice(2, total="1", memo=PROMPT, card=CARD)).encode(),
    }


def test_nothing_a_payer_wrote_and_no_card_leaves_the_file(loader_home: LoaderHome) -> None:
    files = payments_with_free_text()
    for name, data in files.items():
        source, _, file_name = name.partition("/")
        loader_home.drop(file_name, data, source=source)

    report = loader_home.load()

    assert report.total("rows_loaded") == 6
    for path in loader_home.path.rglob("*"):
        if path.is_file() and path.name not in {name.partition("/")[2] for name in files}:
            content = readable_content(path)
            assert PROMPT.encode() not in content, path
            assert b"CANARY-CARD" not in content, path


def test_provider_pages_and_bills_keep_no_canary_in_the_warehouse(
    loader_home: LoaderHome,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    poisoned = {"line_item": f"x {RAW_KEY}", "project_id": RAW_KEY, "prompt": PROMPT}
    refused = {**poisoned, "line_item": "y", "quantity": f"{PROMPT} tokens"}
    page = openai_page(openai_bucket(cost_line(**poisoned), cost_line(**refused)))
    loader_home.drop("costs.json", page, source="openai_costs")
    error = json.dumps({"error": {"message": f"Incorrect API key provided: {RAW_KEY} {PROMPT}"}})
    loader_home.drop("error.json", error, source="openai_costs")
    result = messages(api_key_id=RAW_KEY, account_id=f"{PROMPT}@example.com", model=RAW_KEY)
    usage = anthropic_page(anthropic_bucket(result, messages(output_tokens=f"{PROMPT}")))
    loader_home.drop("usage.json", usage, source="anthropic_usage")
    tags = json.dumps({"team": RAW_KEY})
    charges = [
        focus_charge(ChargeDescription=RAW_KEY, Tags=tags, x_Prompt=PROMPT, Prompt=PROMPT),
        focus_charge(BilledCost=PROMPT, ResourceId=RAW_KEY),
    ]
    loader_home.drop("focus.jsonl", lines(*charges), source="focus")
    loader_home.drop("gcp.jsonl", lines(gcp_row(cost=PROMPT, credits=PROMPT)), source="gcp_billing")
    said: list[str] = []

    report = loader_home.load(progress=said.append)

    assert report.total("rows_loaded") == 3
    assert report.total("rows_quarantined") == 4
    # Pages and bills stay as they are: their kinds hold no content.
    traces = {name for name, _ in traces_of_canaries(loader_home.path)}
    dropped = {"costs.json", "error.json", "usage.json", "focus.jsonl", "gcp.jsonl"}
    assert traces == dropped
    spoken = "".join([*said, *capfd.readouterr(), caplog.text, repr(report)])
    assert not [canary for canary in CANARIES if canary in spoken]


def test_a_payment_refused_for_its_time_is_accepted_by_a_later_try(loader_home: LoaderHome) -> None:
    tomorrow = {**checkout(1, 4200), "created": CREATED + 2 * 86_400}
    loader_home.drop("early.jsonl", lines(checkout(2), tomorrow), source="stripe_hooks")
    loader_home.load()
    assert loader_home.query("select reason_code from audit.quarantine") == [("future_timestamp",)]

    runtime = loader_home.runtime("2026-07-05T12:00:00Z")
    with open_warehouse(runtime) as connection:
        (report,) = retry_quarantine(connection, runtime).batches

    assert (report.loaded, report.refused) == (1, [])
    stored = loader_home.query("select record_id, amount, wallet_id from raw.stripe__records")
    assert sorted(stored) == [
        ("evt_fjord_c1", 42, "wallet-fjord"),
        ("evt_fjord_c2", 42, "wallet-fjord"),
    ]


def test_a_line_of_a_refused_invoice_is_never_accepted_alone(loader_home: LoaderHome) -> None:
    both = json.dumps([invoice(1), invoice(2, total="1")])
    loader_home.drop("two.json", both, source="invoices")
    loader_home.load()

    with open_warehouse(loader_home.runtime()) as connection:
        (report,) = retry_quarantine(connection, loader_home.runtime()).batches

    assert (report.loaded, len(report.refused)) == (0, 2)
    assert loader_home.query("select distinct invoice_number from raw.invoices__lines") == [
        ("FJ-1",)
    ]
