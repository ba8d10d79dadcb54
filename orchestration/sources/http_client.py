"""The one way APIs are asked: limits on time and size, a pace, tries again, and no secret told.

Every request is a GET. What a server says in words is never repeated: it may quote the key or
data. Lines name the system, what happened and what to do.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import stamina

from orchestration.sources.source_error import SourceError

Params = tuple[tuple[str, str], ...]

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
# A server that sends a byte now and then meets this limit.
ANSWER_SECONDS = 180.0
ANSWER_BYTES = 64 * 2**20
ATTEMPTS = 5
WAIT_INITIAL, WAIT_MAX, WAIT_JITTER = 1.0, 30.0, 1.0
# A server that asks for a longer pause is asked again by the next run instead.
LONGEST_PAUSE = timedelta(minutes=2)
# Ends the line of a trouble that may pass by itself.
AGAIN = "; the next run reads what is missing"

_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z")
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+\Z")

# What is tried again is told by `progress`; stamina's own lines would go to standard output.
stamina.instrumentation.set_on_retry_hooks([])
# At their lower levels they write URLs and headers, our keys among them.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


# (class, words of its text, what it means in ours, whether another try may help), first that fits.
_BY_ERROR: tuple[tuple[type[Exception], str, str, bool], ...] = (
    (httpx.LocalProtocolError, "", "the request cannot be sent; check base_url and api_key", False),
    (httpx.UnsupportedProtocol, "", "the request cannot be sent; check base_url", False),
    (httpx.TimeoutException, "", "it does not answer in time", True),
    (httpx.DecodingError, "", "an answer is too long or damaged", True),
    (
        httpx.ConnectError,
        "CERTIFICATE|SSL|TLS",
        "its certificate is not trusted here; check base_url, or set SSL_CERT_FILE",
        False,
    ),
    (
        httpx.ConnectError,
        "Name or service|nodename|getaddrinfo|resolution|No address",
        "its host is not known; check base_url",
        True,
    ),
    (httpx.ConnectError, "", "nothing answers there; check base_url", True),
)


class KeyRefusedError(SourceError):
    """Status 401: nothing can be read with this key."""


class NotPermittedError(SourceError):
    """Status 403: the key may not read this; it may read other things."""


class NotThereError(SourceError):
    """Status 404: the API does not know what was asked for, or not yet."""


class RequestRefusedError(SourceError):
    """Any other status from 400 on that another try does not change.

    Attributes:
        status: The HTTP status.
        words: What the server's error is called and says, to be compared with what is documented;
            never to be shown.
    """

    def __init__(self, line: str, *, status: int, words: str) -> None:
        super().__init__(line)
        self.status = status
        self.words = words


class UnavailableError(SourceError):
    """Nothing answers, or with nothing that helps, also when asked again."""


class TooManyRequestsError(UnavailableError):
    """Status 429, also when asked again: nothing else is asked for either."""


class NotJsonError(UnavailableError):
    """What answers sends no JSON object."""


class _TransientError(Exception):
    """Worth another try, after the pause the server asks for if it does."""

    def __init__(self, problem: SourceError, pause: timedelta | None = None) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Access:
    """How one system is reached.

    Attributes:
        system: Its name in every line.
        base_url: Without a slash at its end.
        headers: Sent with every request; they hold the key.
        secrets: The key, and every other text in which it is sent: none of them is ever kept.
        pace: The shortest time between two requests.
        key_fix: What to do when the key is refused.
        permission_fix: What to do when the key may not read something.
    """

    system: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    pace: timedelta
    key_fix: str
    permission_fix: str


def bearer(key: str) -> dict[str, str]:
    """The header of a bearer key."""
    return {"Authorization": f"Bearer {key}"}


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a user and password."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        body: The bytes as received, our own secrets taken out.
        document: The same, decoded; numbers with a fraction as Decimal.
    """

    body: bytes = field(repr=False)
    document: dict[str, Any] = field(repr=False)


class HttpClient:
    """Asks one system, one request at a time.

    Args:
        progress: Told before each wait.
        attempts: Tries of one request.
    """

    def __init__(
        self,
        access: Access,
        *,
        progress: Callable[[str], None] = lambda _line: None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._access = access
        self._progress = progress
        self._attempts = attempts
        self._next_at = 0.0
        self._secrets = tuple(each.encode() for each in access.secrets)
        self._refuse_unsendable()
        self._client = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": "tollbook", **access.headers},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
        )

    def _refuse_unsendable(self) -> None:
        access = self._access
        if not all(_HEADER_TEXT.match(each) for each in access.secrets):
            raise SourceError(
                f"{access.system}: its api_key is empty or holds a space, a line break or a letter "
                "no header can carry; set it anew"
            )
        parts = urlsplit(access.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SourceError(
                f"{access.system}: its base_url is no URL like https://api.example.com"
            )
        if parts.username or parts.password or parts.query:
            raise SourceError(
                f"{access.system}: its base_url holds a user, a password or a query; "
                "leave the address alone and put the key into api_key"
            )

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def get(self, path: str, params: Params = ()) -> Page:
        """The JSON object behind a path.

        Raises:
            SourceError: one of the classes above, after a few tries where another may help.
        """
        failed: _TransientError | None = None
        try:
            for attempt in stamina.retry_context(
                on=_pause,
                attempts=self._attempts,
                timeout=None,
                wait_initial=WAIT_INITIAL,
                wait_max=WAIT_MAX,
                wait_jitter=WAIT_JITTER,
            ):
                with attempt:
                    if attempt.num > 1:
                        self._progress(f"asking {self._access.system} again ({attempt.num})")
                    return self._ask_once(path, params)
        except _TransientError as error:
            failed = error
        # Raised out here, so that no request with its headers hangs on it as context.
        raise failed.problem if failed else AssertionError("the last attempt returns or raises")

    def _ask_once(self, path: str, params: Params) -> Page:
        self._keep_pace()
        problem: Exception
        try:
            status, headers, body = self._receive(path, params)
        except httpx.HTTPError as error:
            problem = self._explained(error)
        except (httpx.InvalidURL, UnicodeError):
            problem = SourceError(f"{self._access.system}: its base_url is no URL")
        else:
            if status == 200:
                return self._page(body)
            problem = self._refusal(status, headers, body)
        raise problem

    def _keep_pace(self) -> None:
        wait = self._next_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next_at = time.monotonic() + self._access.pace.total_seconds()

    def _receive(self, path: str, params: Params) -> tuple[int, httpx.Headers, bytes]:
        url = self._access.base_url.rstrip("/") + path
        deadline = time.monotonic() + ANSWER_SECONDS
        received = bytearray()
        with self._client.stream("GET", url, params=list(params)) as answer:
            for block in answer.iter_bytes():
                received += block
                if len(received) > ANSWER_BYTES:
                    raise httpx.DecodingError("too long", request=answer.request)
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("too slow", request=answer.request)
            return answer.status_code, answer.headers, bytes(received)

    def _page(self, body: bytes) -> Page:
        for secret in self._secrets:
            body = body.replace(secret, b"[secret removed]")
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise _TransientError(
                NotJsonError(
                    f"{self._access.system} answers with something that is no JSON object; check "
                    f"base_url, or a proxy between{AGAIN}"
                )
            )
        return Page(body, document)

    def _explained(self, error: httpx.HTTPError) -> Exception:
        system = self._access.system
        text = str(error)
        for kind, pattern, meaning, is_transient in _BY_ERROR:
            if isinstance(error, kind) and re.search(pattern, text):
                if is_transient:
                    return _TransientError(UnavailableError(f"{system}: {meaning}{AGAIN}"))
                return SourceError(f"{system}: {meaning}")
        return _TransientError(UnavailableError(f"{system}: the connection was cut{AGAIN}"))

    def _refusal(self, status: int, headers: httpx.Headers, body: bytes) -> Exception:
        access = self._access
        system = access.system
        if status == 401:
            return KeyRefusedError(f"{system} refuses the key (401); {access.key_fix}")
        if status == 403:
            return NotPermittedError(
                f"{system}: the key may not read this (403); {access.permission_fix}"
            )
        if 300 <= status < 400:
            return SourceError(f"{system} sends us elsewhere ({status}); correct base_url")
        if status in _TRY_AGAIN:
            return self._transient(status, headers)
        code, words = _error_words(body)
        line = f"{system} refuses the request ({status}{', ' + code if code else ''})"
        if status == 404:
            return NotThereError(f"{line}; check base_url and the ids in tollbook.yml")
        return RequestRefusedError(
            f"{line}; if a newer Tollbook does not help, report it", status=status, words=words
        )

    def _transient(self, status: int, headers: httpx.Headers) -> Exception:
        system = self._access.system
        pause = read_retry_after(headers)
        kind, line = UnavailableError, f"{system} fails ({status})"
        if status == 429:
            kind, line = TooManyRequestsError, f"{system} asks for fewer requests (429)"
        if pause is not None and pause > LONGEST_PAUSE:
            seconds = int(pause.total_seconds())
            return kind(f"{line} and for a pause of {seconds} s{AGAIN}")
        if pause is not None:
            self._progress(f"{line}: waiting {pause.total_seconds():.0f} s")
        return _TransientError(kind(f"{line}{AGAIN}"), pause)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _pause(error: Exception) -> bool | timedelta:
    """Whether to try again, and after which pause if the server names one."""
    if not isinstance(error, _TransientError):
        return False
    return True if error.pause is None else error.pause


def read_retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """The pause a server asks for, in seconds or until a moment; None where it names none.

    A moment is compared with the server's own clock (`Date`), so that ours need not agree.
    """
    text = (headers.get("retry-after") or "").strip()
    if not text:
        return None
    try:
        return timedelta(seconds=min(max(0.0, float(text)), 1e9))
    except (ValueError, OverflowError):
        pass
    try:
        until = parsedate_to_datetime(text)
        return max(timedelta(0), until - parsedate_to_datetime(headers.get("date") or ""))
    except (ValueError, TypeError, IndexError):
        return None


def _error_words(body: bytes) -> tuple[str, str]:
    """What an error is called, if it is a plain word, and all its words for comparison."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return "", str(error)[:1000]
    texts = [error.get(name) for name in ("code", "type", "reason", "message", "description")]
    texts = [text for text in texts if isinstance(text, str)]
    code = next((text for text in texts if _CODE.match(text)), "")
    return code, " ".join(texts)[:1000]
