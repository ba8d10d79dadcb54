"""How many calls of which kind each key makes in the month."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from brindlemoor.usage import (
    Usage,
    cached_chat,
    chat,
    classifier,
    claude_cache,
    edited_picture,
    embedding,
    flex_chat,
    long_cached_context,
    long_context,
    priority_chat,
    reasoning_chat,
    rerank,
    speech,
    token_picture,
    transcript,
    unknown_writes,
    voice_chat,
    web_search,
    whole_pictures,
    widest_context,
)


@dataclass(frozen=True, slots=True)
class Line:
    """`count` calls of one kind by one key."""

    key: str
    group: str
    count: int
    usage: Callable[[random.Random], Usage]
    streamed: bool = False
    outcome: str = "success"
    asked: str = ""
    retries: int = 0
    call_type: str = ""
    first_day: int = 1


SUPPORT, SEARCH, LAB, SHARED = (
    "support-chat-prod",
    "search-prod",
    "research-notebooks",
    "platform-shared",
)
PLAN = (
    # The checkout team: only plain calls, because its own log must match every one of them.
    Line("checkout-prod", "gpt-5-mini", 18, chat),
    Line("checkout-prod", "gpt-5-mini", 8, cached_chat, streamed=True),
    Line("checkout-prod", "claude-haiku-4-5", 10, chat),
    Line("checkout-prod", "gpt-5", 8, reasoning_chat),
    Line("checkout-prod", "gpt-5-mini", 2, chat, outcome="failed"),
    Line("checkout-staging", "gpt-5-mini", 12, chat),
    # Customer support: Anthropic with prompt caching, retries, fallbacks, voice.
    Line(SUPPORT, "claude-sonnet-4-5", 26, claude_cache, streamed=True),
    Line(SUPPORT, "claude-sonnet-4-5", 14, chat),
    Line(SUPPORT, "claude-sonnet-4-5", 10, claude_cache, call_type="anthropic_messages"),
    Line(SUPPORT, "claude-sonnet-4-5", 6, web_search, call_type="anthropic_messages"),
    Line(SUPPORT, "claude-haiku-4-5", 36, chat),
    Line(SUPPORT, "claude-haiku-4-5", 14, chat, streamed=True),
    Line(SUPPORT, "claude-haiku-4-5", 4, chat, retries=1),
    Line(SUPPORT, "claude-sonnet-4-5", 1, chat, retries=2),
    Line(SUPPORT, "azure-gpt-4.1", 6, chat, asked="claude-sonnet-4-5"),
    Line(SUPPORT, "claude-sonnet-4-5", 2, chat, asked="claude-haiku-4-5"),
    Line(SUPPORT, "claude-sonnet-4-5", 6, chat, outcome="failed"),
    Line(SUPPORT, "claude-haiku-4-5", 4, chat, outcome="failed_with_estimate"),
    Line(SUPPORT, "claude-sonnet-4-5", 3, claude_cache, streamed=True, outcome="broken"),
    Line("support-voice-prod", "whisper", 13, transcript),
    Line("support-voice-prod", "tts", 9, speech),
    Line("support-voice-prod", "tts-hd", 3, speech),
    Line("support-voice-prod", "whisper", 1, transcript, outcome="unmeasured"),
    Line("support-voice-prod", "tts", 1, speech, outcome="unmeasured"),
    Line("support-voice-prod", "gpt-4o-audio-preview", 8, voice_chat),
    Line("support-staging", "claude-haiku-4-5", 8, chat),
    Line("support-staging", "azure-gpt-4.1-mini", 7, chat),
    Line("support-staging", "azure-gpt-4.1-mini", 3, chat, outcome="failed"),
    # Search and catalogue: embeddings, rerank, Gemini, pictures.
    Line(SEARCH, "embed", 44, embedding),
    Line(SEARCH, "embed-large", 12, embedding),
    Line(SEARCH, "rerank", 16, rerank),
    Line(SEARCH, "gemini-2.5-flash", 22, chat),
    Line(SEARCH, "gemini-2.5-flash", 12, reasoning_chat),
    Line(SEARCH, "gemini-2.5-flash", 10, cached_chat, streamed=True),
    Line(SEARCH, "gemini-2.5-flash-lite", 18, chat),
    Line(SEARCH, "gemini-2.5-flash", 3, chat, outcome="failed_with_estimate"),
    Line(SEARCH, "gpt-4o-search-preview", 4, web_search),
    Line("search-reindex", "embed", 20, embedding),
    Line("catalogue-images", "image", 9, token_picture),
    Line("catalogue-images", "image", 3, edited_picture, call_type="aimage_edit"),
    Line("catalogue-images", "imagen-4.0-generate-001", 6, whole_pictures),
    Line("catalogue-images", "stable-image", 4, whole_pictures),
    # Research: reasoning, long contexts, service tiers, Bedrock, a self-hosted model.
    Line(LAB, "gpt-5", 12, reasoning_chat, call_type="aresponses"),
    Line(LAB, "gpt-5", 6, reasoning_chat, streamed=True),
    Line(LAB, "gpt-5", 2, reasoning_chat, streamed=True, outcome="broken"),
    Line(LAB, "gpt-5", 8, flex_chat),
    Line(LAB, "o4-mini", 9, reasoning_chat),
    Line(LAB, "gemini-2.5-pro", 10, reasoning_chat),
    Line(LAB, "gemini-2.5-pro", 3, long_context),
    Line(LAB, "gemini-2.5-pro", 2, long_cached_context),
    Line(LAB, "gemini-2.5-pro", 2, widest_context),
    Line(LAB, "nova-pro", 10, chat),
    Line(LAB, "bedrock-claude-sonnet", 9, chat),
    Line(LAB, "bedrock-claude-sonnet", 3, unknown_writes),
    Line(LAB, "claude-opus-4-5", 7, chat),
    Line("research-evals", "gpt-4.1-mini", 14, chat),
    Line("research-evals", "local-llama", 10, chat),
    # The platform team's shared key serves two workflows.
    Line(SHARED, "gpt-4.1", 12, cached_chat),
    Line(SHARED, "gpt-4.1", 6, priority_chat),
    Line(SHARED, "gpt-5", 3, chat, retries=1),
    Line(SHARED, "gpt-5.1", 8, reasoning_chat, first_day=16),
    Line(SHARED, "azure-gpt-4.1", 10, cached_chat),
    Line(SHARED, "router-classifier", 3, classifier, outcome="internal"),
    Line("platform-sandbox", "local-llama", 6, chat),
    Line("platform-sandbox", "nova-pro", 5, cached_chat),
    Line("platform-sandbox", "gpt-4.1-mini", 3, chat, outcome="failed"),
)
# How many of a key's successful calls of a group were answered again from the gateway's cache.
REPLAYS = (
    (SUPPORT, "claude-haiku-4-5", 14),
    (SEARCH, "gemini-2.5-flash", 10),
    (SHARED, "gpt-4.1", 4),
)
# (key, models of the batch, requests)
BATCHES = (
    ("research-evals", ("gpt-4.1-mini",), 6),
    ("research-evals", ("gpt-4.1-mini", "gpt-4.1"), 8),
    ("research-evals", ("gpt-5-mini",), 5),
    ("search-reindex", ("gpt-5-mini",), 7),
)
