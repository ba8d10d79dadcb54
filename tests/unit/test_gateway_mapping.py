"""Mapping files: which one a source uses, and one line for everything that may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.config import (
    ConfigurationError,
    mapping_of,
    preset_names,
    read_mapping,
    read_runtime,
)
from orchestration.sources.gateway_mapping import find

MINIMAL = """\
preset: mine
provenance: a test
time: {field: at}
fields:
  request_id: id
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOLLBOOK_CONFIG", "TOLLBOOK_HOME", "TOLLBOOK_SEEDS"):
        monkeypatch.delenv(name, raising=False)


def complaint(folder: Path, text: str) -> str:
    """The one line a wrong mapping is answered with, from its file's name on."""
    path = folder / "mine.yml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_mapping(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (MINIMAL + "colour: red\n", "mine.yml:6: colour: unknown key; remove it"),
        (MINIMAL + "tokens: {inputs: a}\n", "mine.yml:6: tokens.inputs: unknown key"),
        (MINIMAL + "  teem_id: t\n", "fields.teem_id: unknown; known are api_key_id,"),
        (MINIMAL + "quantities: {images: n}\n", "quantities.images: unknown; known are"),
        (MINIMAL.replace("request_id", "model"), "fields.request_id: name the field that tells"),
        (MINIMAL.replace("time: {field: at}\n", ""), "time: Field required"),
        (MINIMAL.replace("at}", "at, format: epoch}"), "mine.yml:3: time: format: unknown 'epoch'"),
        (MINIMAL.replace("at}", "at, zone: Mars}"), "time: zone: write an IANA name like UTC"),
        (MINIMAL.replace("at}", "at, format: '%H:%M'}"), "time: format: "),
        (MINIMAL + "format: xlsx\n", "mine.yml:6: format: Input should be 'csv', 'jsonl'"),
        (MINIMAL + "records: a[0].b\n", "records: a path like result or"),
        (
            MINIMAL + "costs: {charge: {field: c, multiply: 1/100}}\n",
            "costs.charge.multiply: expected a decimal above 0 such as 0.01, found '1/100'",
        ),
        (MINIMAL + "costs: {charge: {field: c, multiply: 0}}\n", "expected a decimal above 0"),
        (MINIMAL + "costs: {charge: {field: c, multiply: -1}}\n", "expected a decimal above 0"),
        (MINIMAL + "costs: {charge: {field: c, multiply: .nan}}\n", "expected a decimal above 0"),
        (MINIMAL + "costs: {charge: {field: c, currency: dollars}}\n", "currency: a code like USD"),
        (
            MINIMAL + "tokens: {input: i, cached_read: c}\n",
            "mine.yml:6: tokens: input_includes_cached: say whether input contains cached_read",
        ),
        (
            MINIMAL + "tokens: {output: o, reasoning: r}\n",
            "tokens: output_includes_reasoning: say whether output contains reasoning",
        ),
        (MINIMAL + "  model: {field: m, value: v}\n", "fields.model: give one of field, join"),
        (
            MINIMAL + "  status: {field: s, map: {ok: fine}}\n",
            "fields.status: 'fine' is no status; ours are success, failure, pending",
        ),
        (MINIMAL + "preset: twice\n", "mine.yml:6: preset: written twice, first on line 1"),
        ("- a\n- b\n", "mine.yml:1: expected the keys of a mapping"),
        ("preset: [\n", "mine.yml: line 2: not YAML"),
        ("a: &a [*a]\n", "mine.yml:1: an anchor (&) that holds itself"),
    ],
)
def test_a_wrong_mapping_is_answered_in_one_line(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in complaint(tmp_path, text)


def test_a_mapping_that_is_no_text_is_answered_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_bytes(b"preset: \xff\n")

    with pytest.raises(ConfigurationError, match=r"cannot be read as UTF-8 text"):
        read_mapping(tmp_path / "mine.yml")


def test_a_factor_keeps_every_digit_it_is_written_with(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(
        MINIMAL + "costs: {charge: {field: c, multiply: 0.000000000000000000001}}\n"
    )

    charge = read_mapping(tmp_path / "mine.yml").costs.charge

    assert charge is not None
    assert f"{charge.multiply:f}" == "0.000000000000000000001"


def test_a_changed_mapping_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(MINIMAL)
    assert read_mapping(path).preset == "mine"

    path.write_text(MINIMAL.replace("mine", "yours"))

    assert read_mapping(path).preset == "yours"


# ---------------------------------------------------------------- which mapping a source uses


def preset_of(folder: Path, source: str) -> str | None:
    (folder / "tollbook.yml").write_text(f"sources:\n  - {source}\n")
    runtime = read_runtime(config=folder / "tollbook.yml", home=folder)
    mapping = mapping_of(runtime, runtime.settings.sources[0])
    return None if mapping is None else mapping.preset


def write_own(folder: Path, name: str) -> None:
    (folder / "mappings").mkdir(exist_ok=True)
    text = MINIMAL.replace("preset: mine", f"preset: own_{name}")
    (folder / "mappings" / f"{name}.yml").write_text(text)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{name: x, kind: gateway_usage, mapping: routic}", "routic"),
        ("{name: x, kind: gateway_usage, preset: vercel}", "vercel"),
        ("{name: x, kind: gateway_usage, mapping: mappings/mine.yml}", "own_mine"),
        ("{name: x, kind: gateway_usage, mapping: mine}", "own_mine"),
        # A file of one's own goes before a preset of its name, but not where a preset is asked for.
        ("{name: x, kind: gateway_usage, mapping: kong}", "own_kong"),
        ("{name: x, kind: gateway_usage, preset: kong}", "kong"),
        ("{name: x, kind: gateway_usage, gateway: flatkey}", "flatkey"),
        ("{name: routor, kind: gateway_usage, gateway: prod}", "routor"),
        ("{name: x, kind: openrouter_generations}", "openrouter"),
        ("{name: x, kind: cloudflare_ai_gateway}", "cloudflare"),
        ("{name: x, kind: openrouter_generations, mapping: mine}", "own_mine"),
        ("{name: x, kind: litellm_spend_logs}", None),
    ],
)
def test_a_source_finds_its_mapping(tmp_path: Path, source: str, wanted: str | None) -> None:
    write_own(tmp_path, "mine")
    write_own(tmp_path, "kong")

    assert preset_of(tmp_path, source) == wanted


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (
            "{name: x, kind: gateway_usage}",
            "tollbook.yml:2: sources[0].kind: gateway_usage needs `mapping:`: a preset (bifrost,",
        ),
        (
            "{name: x, kind: gateway_usage, mapping: unheard_of}",
            "tollbook.yml:2: sources[0].mapping: no mapping is called 'unheard_of'; known are",
        ),
        (
            "{name: x, kind: gateway_usage, preset: unheard_of}",
            "tollbook.yml:2: sources[0].preset: no mapping is called 'unheard_of'",
        ),
        (
            "{name: x, kind: gateway_usage, mapping: mappings/none.yml}",
            "sources[0].mapping: there is no file",
        ),
        ("{name: x, kind: gateway_usage, mapping: a, preset: b}", "has mapping and preset"),
        (
            "{name: x, kind: litellm_spend_logs, mapping: routic}",
            "only kinds gateway_usage, openrouter_generations, cloudflare_ai_gateway have",
        ),
        (
            "{name: x, kind: gateway_usage, preset: kong, gateway: g}\n"
            "  - {name: y, kind: litellm_spend_logs, gateway: g}",
            "both observe gateway 'g', and their records cannot be told to be the same",
        ),
    ],
)
def test_a_source_without_its_mapping_is_told_what_to_write(
    tmp_path: Path, source: str, wanted: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        preset_of(tmp_path, source)

    assert "\n" not in str(refused.value)
    assert wanted in str(refused.value)


def test_the_presets_of_the_contract_are_all_there() -> None:
    gateways = (
        "vercel portkey helicone kong bifrost otel_genai routic routero routor enterprise_router "
        "flatkey"
    )

    assert set(gateways.split()) <= set(preset_names())


# ---------------------------------------------------------------- names with dots


@pytest.mark.parametrize(
    ("row", "name", "wanted"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": {"b": 2}}, "a.b", 2),
        ({"a": {"b.c": 3}}, "a.b.c", 3),
        ({"a": {"b": {"c": 4}}}, "a.b.c", 4),
        ({"a": [{"key": "b.c", "value": {"intValue": "5"}}]}, "a.b.c", "5"),
        ({"a": [{"key": "b", "value": 6}]}, "a.b", 6),
        ({"a": [1, 2]}, "a.b", None),
        ({"a": "text"}, "a.b", None),
        ({}, "a.b", None),
    ],
)
def test_a_dot_leads_into_an_object_or_is_part_of_a_name(
    row: dict[str, object], name: str, wanted: object
) -> None:
    assert find(row, name) == wanted
