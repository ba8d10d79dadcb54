"""What one call used, what that costs, and believable sizes of every kind of call."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from decimal import Decimal

from brindlemoor.prices import PRICE_KEYS, ZERO, Row


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used. `prompt` and `completion` are totals that include the parts below."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    write_5m: int = 0
    write_1h: int = 0
    write_unknown: int = 0
    audio_in: int = 0
    audio_out: int = 0
    image_in: int = 0
    image_out: int = 0
    reasoning: int = 0
    images: int = 0
    characters: int = 0
    seconds: Decimal = ZERO
    queries: int = 0
    searches: int = 0
    tier: str = ""

    @property
    def writes(self) -> int:
        """Tokens written to the provider's prompt cache, whatever their lifetime."""
        return self.write_5m + self.write_1h + self.write_unknown

    @property
    def uncached(self) -> int:
        """Text input at the full price."""
        return self.prompt - self.cached - self.writes - self.audio_in - self.image_in

    def quantities(self) -> dict[str, Decimal]:
        """The disjoint quantities that carry a price, without zeros."""
        text_out = self.completion - self.reasoning - self.audio_out - self.image_out
        counts = {
            "in": self.uncached,
            "read": self.cached,
            "write": self.write_5m + self.write_unknown,
            "write_1h": self.write_1h,
            "audio_in": self.audio_in,
            "image_in": self.image_in,
            "out": text_out,
            "reasoning": self.reasoning,
            "audio_out": self.audio_out,
            "image_out": self.image_out,
            # A picture priced by its tokens is not priced again by the piece.
            "image": 0 if self.image_out else self.images,
            "character": self.characters,
            "second": self.seconds,
            "query": self.queries,
            "search": self.searches,
        }
        return {unit: Decimal(count) for unit, count in counts.items() if count}


def rate(entry: Row, unit: str, usage: Usage) -> Decimal:
    """USD for one unit: above 200,000 input tokens and by tier where the entry says so."""
    if unit == "search":
        return entry["search_context_cost_per_query"]["search_context_size_medium"]
    key = PRICE_KEYS[unit]
    if key not in entry and unit == "reasoning":
        key = PRICE_KEYS["out"]
    band = "_above_200k_tokens" if usage.prompt > 200_000 else ""
    tier = f"_{usage.tier}" if usage.tier else ""
    names = [key + suffix for suffix in (band, tier) if suffix] + [key]
    return entry[next(name for name in names if name in entry)]


def charges(entry: Row, usage: Usage) -> dict[str, Decimal]:
    """USD per unit of this usage at the prices of the entry."""
    return {unit: count * rate(entry, unit, usage) for unit, count in usage.quantities().items()}


# Smallest and largest counts of tokens read, written for 5 minutes and written for 1 hour.
CLAUDE_CACHE = ((2_000, 60_000), (300, 9_000), (200, 6_000))


def chat(rng: random.Random) -> Usage:
    """A question and its answer."""
    return Usage(prompt=rng.randint(400, 16_000), completion=rng.randint(60, 1_800))


def cached_chat(rng: random.Random) -> Usage:
    """A chat whose long prefix OpenAI, Azure, Gemini or Bedrock had in its cache."""
    cached = 128 * rng.randint(8, 120)
    return replace(chat(rng), prompt=cached + rng.randint(60, 6_000), cached=cached)


def reasoning_chat(rng: random.Random) -> Usage:
    """A chat with thinking before the answer, which counts as output."""
    plain, reasoning = chat(rng), 64 * rng.randint(1, 80)
    return replace(plain, completion=plain.completion + reasoning, reasoning=reasoning)


def priority_chat(rng: random.Random) -> Usage:
    """A chat, partly cached, on OpenAI's priority tier."""
    return replace(cached_chat(rng), tier="priority")


def flex_chat(rng: random.Random) -> Usage:
    """A reasoning chat on OpenAI's flex tier."""
    return replace(reasoning_chat(rng), tier="flex")


def claude_cache(rng: random.Random) -> Usage:
    """An Anthropic chat that reads its prompt cache and writes both lifetimes to it."""
    cached, write_5m, write_1h = (rng.randint(*span) for span in CLAUDE_CACHE)
    base = replace(chat(rng), cached=cached, write_5m=write_5m, write_1h=write_1h)
    return replace(base, prompt=cached + write_5m + write_1h + rng.randint(40, 1_500))


def unknown_writes(rng: random.Random) -> Usage:
    """A Bedrock chat whose cache writes come without their lifetime."""
    written = rng.randint(1_024, 5_000)
    return replace(chat(rng), prompt=written + rng.randint(60, 900), write_unknown=written)


def web_search(rng: random.Random) -> Usage:
    """A chat in which the provider searched the web."""
    return replace(chat(rng), searches=rng.randint(1, 3))


def long_context(rng: random.Random) -> Usage:
    """A request above 200,000 input tokens, all of which the higher price takes."""
    return Usage(prompt=rng.randint(205_000, 420_000), completion=rng.randint(800, 3_000))


def long_cached_context(rng: random.Random) -> Usage:
    """The same with most of the input in the cache."""
    return replace(long_context(rng), cached=128 * rng.randint(900, 1_400))


def widest_context(rng: random.Random) -> Usage:
    """Exactly 200,000 input tokens: the last request at the lower price."""
    return Usage(prompt=200_000, completion=rng.randint(400, 1_200))


def voice_chat(rng: random.Random) -> Usage:
    """A spoken question and a spoken answer, with some text on both sides."""
    heard, spoken = rng.randint(120, 900), rng.randint(150, 700)
    return Usage(
        prompt=heard + rng.randint(60, 300),
        completion=spoken + rng.randint(20, 120),
        audio_in=heard,
        audio_out=spoken,
    )


def embedding(rng: random.Random) -> Usage:
    """Texts turned into vectors."""
    return Usage(prompt=rng.randint(400, 90_000))


def token_picture(rng: random.Random) -> Usage:
    """One or two pictures, priced by their tokens."""
    images = rng.choice((1, 1, 1, 2))
    tokens = images * rng.choice((272, 408, 1_056, 1_584))
    return Usage(prompt=rng.randint(12, 90), completion=tokens, image_out=tokens, images=images)


def edited_picture(rng: random.Random) -> Usage:
    """A picture changed by a prompt: the old picture's tokens are input."""
    picture, old = token_picture(rng), rng.choice((323, 388))
    return replace(picture, prompt=picture.prompt + old, image_in=old)


def whole_pictures(rng: random.Random) -> Usage:
    """Pictures priced by the piece."""
    return Usage(images=rng.randint(1, 4))


def speech(rng: random.Random) -> Usage:
    """A text read aloud, priced by the character."""
    return Usage(characters=rng.randint(80, 3_800))


def transcript(rng: random.Random) -> Usage:
    """A recording written down, priced by the second."""
    return Usage(seconds=Decimal(rng.randint(1_000, 180_000)).scaleb(-2))


def batch_request(rng: random.Random) -> Usage:
    """One request of a batch: a long document and some thinking, at batch prices."""
    size = {"prompt": rng.randint(20_000, 90_000), "tier": "batches"}
    return replace(reasoning_chat(rng), **size)


def rerank(rng: random.Random) -> Usage:
    """Documents put in order, priced by the search."""
    return Usage(queries=rng.randint(1, 5))


def classifier(rng: random.Random) -> Usage:
    """The few tokens with which the gateway's own router reads a request."""
    return Usage(prompt=rng.randint(300, 1_400), completion=rng.randint(3, 9))
