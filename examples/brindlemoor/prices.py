"""The two price catalogs of the example, in the shape of LiteLLM's cost map."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
Row = dict[str, Any]

SEPTEMBER_AT = datetime(2026, 9, 25, tzinfo=UTC)
OCTOBER_AT = datetime(2026, 10, 15, tzinfo=UTC)

# Token prices in USD per million; a suffix after the dot is LiteLLM's own (tier, band, lifetime).
TOKEN_KEYS = {
    "in": "input_cost_per_token",
    "out": "output_cost_per_token",
    "read": "cache_read_input_token_cost",
    "write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_in": "input_cost_per_audio_token",
    "audio_out": "output_cost_per_audio_token",
    "image_in": "input_cost_per_image_token",
    "image_out": "output_cost_per_image_token",
}
# Prices in USD for one.
UNIT_KEYS = {
    "character": "input_cost_per_character",
    "second": "input_cost_per_second",
    "second_out": "output_cost_per_second",
    "image": "output_cost_per_image",
    "query": "input_cost_per_query",
}
PRICE_KEYS = {**TOKEN_KEYS, **UNIT_KEYS, "write_1h": TOKEN_KEYS["write"] + "_above_1hr"}
SEARCH_SIZES = ("high", "low", "medium")

# key, LiteLLM provider, mode, largest input: prices.
SEPTEMBER_PRICES = """
gpt-5 openai chat 272000: in 1.25 out 10 read 0.125 in.batches 0.625 out.batches 5
  read.batches 0.0625 in.flex 0.625 out.flex 5 read.flex 0.0625 in.priority 2.5 out.priority 20
  read.priority 0.25 search 0.01
gpt-5-mini openai chat 272000: in 0.25 out 2 read 0.025 in.batches 0.125 out.batches 1
  read.batches 0.0125 in.flex 0.125 out.flex 1 read.flex 0.0125 in.priority 0.45 out.priority 3.6
  read.priority 0.045 search 0.01
gpt-4.1 openai chat 1047576: in 2 out 8 read 0.5 in.batches 1 out.batches 4 in.priority 3.5
  out.priority 14 read.priority 0.875 search 0.025
gpt-4.1-mini openai chat 1047576: in 0.4 out 1.6 read 0.1 in.batches 0.2 out.batches 0.8
  in.priority 0.7 out.priority 2.8 read.priority 0.175 search 0.025
o4-mini openai chat 200000: in 1.1 out 4.4 read 0.275 in.batches 0.55 out.batches 2.2
gpt-4o-search-preview openai chat 128000: in 2.5 out 10 read 1.25 search 0.025
gpt-4o-audio-preview openai chat 128000: in 2.5 out 10 audio_in 100 audio_out 200
text-embedding-3-small openai embedding 8191: in 0.02 out 0 in.batches 0.01
text-embedding-3-large openai embedding 8191: in 0.13 out 0 in.batches 0.065
gpt-image-1 openai image_generation 32000: in 5 read 1.25 image_in 10 image_out 40
tts-1 openai audio_speech 4096: character 0.000015
tts-1-hd openai audio_speech 4096: character 0.00003
whisper-1 openai audio_transcription 0: second 0.0001 second_out 0.0001
claude-sonnet-4-5-20250929 anthropic chat 200000: in 3 out 15 read 0.3 write 3.75
  write.above_1hr 6 in.batches 1.5 out.batches 7.5 search 0.01
claude-haiku-4-5-20251001 anthropic chat 200000: in 1 out 5 read 0.1 write 1.25
  write.above_1hr 2 in.batches 0.5 out.batches 2.5 search 0.01
claude-opus-4-5-20251101 anthropic chat 200000: in 5 out 25 read 0.5 write 6.25
  write.above_1hr 10 in.batches 2.5 out.batches 12.5 search 0.01
gemini/gemini-2.5-flash gemini chat 1048576: in 0.15 out 0.6 read 0.0375 reasoning 3.5
  audio_in 1
gemini/gemini-2.5-flash-lite gemini chat 1048576: in 0.1 out 0.4 read 0.01 reasoning 0.4
  audio_in 0.3
gemini/gemini-2.5-pro gemini chat 1048576: in 1.25 out 10 read 0.125 in.above_200k_tokens 2.5
  out.above_200k_tokens 15 read.above_200k_tokens 0.25
gemini/imagen-4.0-generate-001 gemini image_generation 480: image 0.04
azure/gpt-4.1 azure chat 1047576: in 2 out 8 read 0.5 in.batches 1 out.batches 4
azure/gpt-4.1-mini azure chat 1047576: in 0.4 out 1.6 read 0.1 in.batches 0.2 out.batches 0.8
anthropic.claude-sonnet-4-5-20250929-v1:0 bedrock_converse chat 200000: in 3 out 15 read 0.3
  write 3.75 write.above_1hr 6
amazon.nova-pro-v1:0 bedrock_converse chat 300000: in 0.8 out 3.2 read 0.2
stability.stable-image-core-v1:1 bedrock image_generation 77: image 0.04
rerank-v3.5 cohere rerank 4096: in 0 out 0 query 0.002
"""
# What the catalog says anew from 15 October: three models change, one appears.
OCTOBER_CHANGES = """
gpt-5-mini openai chat 272000: in 0.2 out 1.6 read 0.02 in.batches 0.1 out.batches 0.8
  read.batches 0.01 in.flex 0.1 out.flex 0.8 read.flex 0.01 in.priority 0.36 out.priority 2.88
  read.priority 0.036 search 0.01
gpt-4o-audio-preview openai chat 128000: in 2.5 out 10 audio_in 40 audio_out 80
gemini/gemini-2.5-flash gemini chat 1048576: in 0.3 out 2.5 read 0.03 reasoning 2.5 audio_in 1
gpt-5.1 openai chat 272000: in 1.25 out 10 read 0.125 in.priority 2.5 out.priority 20
  read.priority 0.25 search 0.01
"""


def read_prices(text: str) -> dict[str, Row]:
    """The table above as a LiteLLM cost map: model key to its entry, prices in USD for one unit."""
    models: dict[str, Row] = {}
    for line in text.strip().replace("\n  ", " ").splitlines():
        head, _, prices = line.rpartition(": ")
        key, provider, mode, largest_input = head.split()
        names, amounts = prices.split()[::2], prices.split()[1::2]
        entry: Row = {"litellm_provider": provider, "mode": mode}
        entry["max_input_tokens"] = int(largest_input)
        for name, amount in zip(names, amounts, strict=True):
            entry.update(_price_entry(name, Decimal(amount)))
        models[key] = dict(sorted(entry.items()))
    return models


def _price_entry(name: str, amount: Decimal) -> Row:
    if name == "search":
        sizes = {f"search_context_size_{size}": amount for size in SEARCH_SIZES}
        return {"search_context_cost_per_query": sizes}
    unit, dot, suffix = name.partition(".")
    key = PRICE_KEYS[unit] + ("_" + suffix if dot else "")
    return {key: amount.scaleb(-6) if unit in TOKEN_KEYS else amount}


def sample_spec() -> Row:
    """The explanatory entry with which every LiteLLM cost map begins; it prices nothing."""
    return {
        "input_cost_per_token": ZERO,
        "litellm_provider": "one of https://docs.litellm.ai/docs/providers",
        "max_input_tokens": "max input tokens, if the provider specifies it",
        "mode": "one of: chat, embedding, image_generation, audio_speech, rerank",
        "output_cost_per_reasoning_token": ZERO,
        "output_cost_per_token": ZERO,
        "supports_function_calling": True,
    }


SEPTEMBER = read_prices(SEPTEMBER_PRICES)
OCTOBER = {**SEPTEMBER, **read_prices(OCTOBER_CHANGES)}


def prices_at(moment: datetime) -> dict[str, Row]:
    """The cost map in force at that moment."""
    return OCTOBER if moment >= OCTOBER_AT else SEPTEMBER
