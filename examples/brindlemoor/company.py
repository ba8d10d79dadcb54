"""Who calls and whom: the keys with their owners, and the models behind the gateway."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

ORGANIZATION = "org-brindlemoor"
TEAMS = {
    "team-checkout": ("Checkout", "CC-4100", "proj-storefront"),
    "team-support": ("Customer Support", "CC-4200", "proj-helpdesk"),
    "team-search": ("Search and Catalogue", "CC-4300", "proj-catalogue"),
    "team-research": ("Research", "CC-5100", "proj-lab"),
    "team-platform": ("Developer Platform", "CC-6000", "proj-devtools"),
}
# Teams with an account of their own in the seeds; everybody else's is the company's.
LAB_TEAMS = ("team-research",)
PROJECTS = {
    "proj-storefront": "Storefront",
    "proj-helpdesk": "Help desk",
    "proj-catalogue": "Catalogue",
    "proj-lab": "Lab",
    "proj-devtools": "Developer tools",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One virtual key of the gateway and who owns it."""

    alias: str
    team: str
    user: str
    environment: str
    workflows: tuple[str, ...]
    has_customers: bool = False

    @property
    def api_key(self) -> str:
        """The hash that LiteLLM stores instead of the key."""
        return hashlib.sha256(f"brindlemoor example key {self.alias}".encode()).hexdigest()


KEYS = {
    key.alias: key
    for key in (
        Key("checkout-prod", "team-checkout", "user-imre", "prod", ("cart-assistant",), True),
        Key("checkout-staging", "team-checkout", "user-imre", "staging", ("cart-assistant",)),
        Key("support-chat-prod", "team-support", "user-odile", "prod", ("answer-customer",), True),
        Key("support-voice-prod", "team-support", "user-odile", "prod", ("call-notes",), True),
        Key("support-staging", "team-support", "user-tamsin", "staging", ("answer-customer",)),
        Key("search-prod", "team-search", "user-joaquim", "prod", ("product-search",)),
        Key("search-reindex", "team-search", "user-joaquim", "prod", ("nightly-reindex",)),
        Key("catalogue-images", "team-search", "user-brid", "prod", ("product-images",)),
        Key("research-notebooks", "team-research", "user-sunniva", "dev", ("experiments",)),
        Key("research-evals", "team-research", "user-sunniva", "dev", ("model-evals",)),
        Key("platform-shared", "team-platform", "user-wojtek", "prod", ("code-review", "release")),
        Key("platform-sandbox", "team-platform", "user-wojtek", "dev", ("sandbox",)),
    )
}


API_BASES = {
    "openai": "https://api.openai.com/v1/",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/",
    "azure": "https://brindlemoor-eastus2.openai.azure.com/",
    "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com/",
    "cohere": "https://api.cohere.com/v2/rerank",
    "hosted_vllm": "http://llama.brindlemoor.example:8000/v1",
    "": "",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One deployment of the gateway: the group clients ask for and the model it resolves to."""

    group: str
    provider: str
    name: str
    price_key: str
    call_type: str = "acompletion"
    milliseconds: tuple[int, int] = (700, 9_000)

    @property
    def deployment(self) -> str:
        """The id of the configuration entry, as LiteLLM's `model_id`."""
        return "dep-" + hashlib.sha256(self.name.encode()).hexdigest()[:12] if self.name else ""


def _models() -> dict[str, Model]:
    embed, image = ("aembedding", (80, 420)), ("aimage_generation", (7_000, 24_000))
    sonnet = "claude-sonnet-4-5-20250929"
    on_bedrock = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    stable = "stability.stable-image-core-v1:1"
    table = (
        *(_openai(name) for name in ("gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-4.1", "gpt-4.1-mini")),
        *(_openai(name) for name in ("o4-mini", "gpt-4o-search-preview", "gpt-4o-audio-preview")),
        Model("router-classifier", "openai", "openai/gpt-4.1-mini", "gpt-4.1-mini"),
        Model("embed", "openai", "openai/text-embedding-3-small", "text-embedding-3-small", *embed),
        Model(
            "embed-large",
            "openai",
            "openai/text-embedding-3-large",
            "text-embedding-3-large",
            *embed,
        ),
        Model("image", "openai", "openai/gpt-image-1", "gpt-image-1", *image),
        Model("tts", "openai", "openai/tts-1", "tts-1", "aspeech", (600, 2_400)),
        Model("tts-hd", "openai", "openai/tts-1-hd", "tts-1-hd", "aspeech", (900, 3_400)),
        Model("whisper", "openai", "openai/whisper-1", "whisper-1", "atranscription", (900, 5_000)),
        Model("claude-sonnet-4-5", "anthropic", f"anthropic/{sonnet}", sonnet),
        _anthropic("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        _anthropic("claude-opus-4-5", "claude-opus-4-5-20251101"),
        *(
            _gemini(name)
            for name in ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro")
        ),
        replace(_gemini("imagen-4.0-generate-001"), call_type=image[0], milliseconds=image[1]),
        Model("azure-gpt-4.1", "azure", "azure/gpt-4.1", "azure/gpt-4.1"),
        Model("azure-gpt-4.1-mini", "azure", "azure/gpt-4.1-mini", "azure/gpt-4.1-mini"),
        Model("bedrock-claude-sonnet", "bedrock", f"bedrock/{on_bedrock}", on_bedrock),
        Model("nova-pro", "bedrock", "bedrock/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        Model("stable-image", "bedrock", f"bedrock/{stable}", stable, *image),
        Model("rerank", "cohere", "cohere/rerank-v3.5", "rerank-v3.5", "arerank", (90, 350)),
        Model("local-llama", "hosted_vllm", "hosted_vllm/llama-3.3-70b-instruct", ""),
        Model("", "openai", "", "", "aretrieve_batch", (900, 2_800)),
    )
    return {model.group: model for model in table}


def _openai(name: str) -> Model:
    return Model(name, "openai", f"openai/{name}", name)


def _anthropic(group: str, name: str) -> Model:
    return Model(group, "anthropic", f"anthropic/{name}", name)


def _gemini(name: str) -> Model:
    return Model(name, "gemini", f"gemini/{name}", f"gemini/{name}")


MODELS = _models()
