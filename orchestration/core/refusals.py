"""The closed list of reasons for which a file or a row is refused or flagged."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

# Codes that refuse a whole file: it cannot be read as what it claims to be.
FILE_CODES = frozenset(
    {
        "encoding",
        "not_json_lines",
        "invalid_json",
        "not_a_page",
        "schema_mismatch",
        "missing_columns",
        "duplicate_header",
        "duplicate_json_key",
        "unclosed_quote",
        "bad_parquet",
        "bad_gzip",
        "decompression_limit",
        "not_regular_file",
        "pagination",
        "unknown_format",
        "bad_signature",
        "stale_signature",
        "bad_period",
        "duplicate_line",
        "invoice_total_mismatch",
    }
)
# Codes of something whole that is a part of some files and all of others: a signed message, an
# invoice. A file that holds nothing else is rejected, else its rows are quarantined.
WHOLE_CODES = frozenset(
    {
        "bad_signature",
        "stale_signature",
        "bad_period",
        "duplicate_line",
        "invoice_total_mismatch",
    }
)

# Codes that refuse one row: it, or one of its fields, cannot be accepted.
ROW_CODES = frozenset(
    {
        "invalid_json",
        "not_object",
        "duplicate_json_key",
        "bad_encoding",
        "line_too_long",
        "field_too_long",
        "column_count",
        "bad_type",
        "missing_request_id",
        "missing_field",
        "missing_spend",
        "negative_spend",
        "negative_tokens",
        "spend_not_finite",
        "spend_out_of_range",
        "bad_number",
        "bad_integer",
        "bad_timestamp",
        "future_timestamp",
        "unsupported_currency",
        "bad_bucket",
        "bad_price",
        "duplicate_cost_line",
        "overlapping_validity",
        "bad_amount",
        "test_mode",
        "orphan_topup",
        *WHOLE_CODES,
    }
)

# Codes of loaded rows that say something about the file, not about a row a person would look at.
FILE_NOTE_CODES = frozenset({"naive_timestamp", "schema_drift", "empty_file"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one row, or with no field a whole file, was not loaded.

    Attributes:
        code: One of FILE_CODES or ROW_CODES.
        field: The source's own field name, or an empty string.
        reason: One line that says what was found and what would be accepted.
    """

    code: str
    field: str
    reason: str


class RefusedError(ValueError):
    """Raised where a value is found to be unacceptable; carries the Refusal."""

    def __init__(self, code: str, reason: str, field: str = "") -> None:
        super().__init__(f"{code}: {field + ': ' if field else ''}{reason}")
        self.refusal = Refusal(code=code, field=field, reason=reason)


# Credentials by the beginnings their issuers give them. A letter or digit before one makes it part
# of a word: `risk-analytics` and `network-platform` are names of teams.
_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|rk|pk)-[A-Za-z0-9_-]{8,}"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{6,}"
    r"|whsec_[A-Za-z0-9_-]{6,}|rzp_(?:live|test)_[A-Za-z0-9]{6,}"
    r"|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?"
    r"|Bearer\s+\S+)",
    re.IGNORECASE,
)
# What every credential begins with, for engines without a look behind: it never misses one, and
# may take a name for one. Both Python's and RE2's dialect.
CREDENTIAL_HINT = (
    r"(?i)(?:^|[^a-z0-9])(?:[srp]k[-_]|whsec_|rzp_|gsk_|xai-|hf_|gh[pousr]_|akia|aiza|eyj|bearer)"
)


def without_secrets(text: str) -> str:
    """The text with whatever looks like a credential replaced."""
    return _SECRET.sub("[secret removed]", text)


def with_hashed_secrets(text: str) -> str:
    """The text with credentials replaced by their hash, so that two of them stay apart."""
    return _SECRET.sub(lambda match: f"[sha256 {_sha256(match[0])}]", text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def shown(value: object, limit: int = 60) -> str:
    """The value as a short printable text for a message.

    Containers are named by their type alone, since they may hold content; control characters are
    escaped, credentials removed, long text cut.
    """
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = without_secrets(str(value))
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


_SHORT_WORDS = re.compile(r"[-+]?(?:nan|inf|infinity|true|false|null|none)\Z", re.IGNORECASE)


def shown_figure(value: object) -> str:
    """What stands where a number or a time should, as a message may repeat it.

    Anything that could be a sentence is described by its length: columns that slipped by one may
    hold a prompt here.
    """
    if not isinstance(value, str):
        return shown(value)
    letters = sum(character.isalpha() for character in value)
    is_figure = len(value) <= 40 and letters <= 4 and any(c.isdigit() for c in value)
    if is_figure or value.strip() == "" or _SHORT_WORDS.match(value):
        return f"'{shown(value)}'"
    return f"text of {len(value)} characters"
