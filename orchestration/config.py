"""Settings from tollbook.yml, the environment and the clock: read here and nowhere else."""

from __future__ import annotations

import os
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from orchestration.core.refusals import RefusedError, shown
from orchestration.core.values import read_time
from orchestration.sources.gateway_mapping import GatewayMapping

GATEWAY_SOURCE_KINDS = (
    "litellm_postgres",
    "litellm_api",
    "litellm_spend_logs",
    "openrouter_activity",
    "openrouter_generations",
    "cloudflare_ai_gateway",
    "gateway_usage",
)
LITELLM_SOURCE_KINDS = ("litellm_postgres", "litellm_api", "litellm_spend_logs")
API_SOURCE_KINDS = ("openai_admin", "anthropic_admin", "stripe", "razorpay")
FILE_SOURCE_KINDS = (
    "gateway_counts",
    "openai_usage",
    "openai_costs",
    "anthropic_usage",
    "anthropic_costs",
    "focus",
    "aws_cur2",
    "gcp_billing",
    "azure_cost",
    "wallet_transactions",
    "adjustments",
    "recharge_requests",
    "price_catalog",
    "invoices",
    "app_requests",
    "owners",
    "decisions",
    "closes",
    "statements",
)
SOURCE_KINDS = (*GATEWAY_SOURCE_KINDS, *API_SOURCE_KINDS, *FILE_SOURCE_KINDS)

LITELLM_FILE_KINDS = (
    "litellm_spend_logs",
    "owners",
    "gateway_counts",
    "litellm_daily_spend",
)
# APIs that are asked where an `api_key` is given; without one, people fill the folder.
API_KINDS = (
    "litellm_api",
    "openrouter_activity",
    "openrouter_generations",
    "cloudflare_ai_gateway",
    *API_SOURCE_KINDS,
)
# Presets of gateway_usage that come with the package; files of these kinds have theirs built in.
PRESETS = Path(__file__).parent / "mappings"
PRESET_OF_KIND = {"openrouter_generations": "openrouter", "cloudflare_ai_gateway": "cloudflare"}
MAPPED_KINDS = ("gateway_usage", *PRESET_OF_KIND)
# What a source kind writes into its landing folder; the first is the one assumed when the
# content of a file decides nothing (contract, table T8).
FILE_KINDS_BY_SOURCE_KIND: dict[str, tuple[str, ...]] = {
    "litellm_postgres": LITELLM_FILE_KINDS,
    "litellm_api": LITELLM_FILE_KINDS,
    "litellm_spend_logs": LITELLM_FILE_KINDS,
    "openai_admin": ("openai_usage", "openai_costs"),
    "anthropic_admin": ("anthropic_usage", "anthropic_costs"),
    "openrouter_activity": ("openrouter_activity", "openrouter_credits"),
}
# Settings by such a name hold a secret: nothing but ${VARIABLES} stands in them. A dsn may have
# text around its variables, but no password.
_SECRET_NAME = re.compile(
    r"(?:(?:\A|[_-])(?i:key|token|secret|password|passphrase|pwd|credentials?)"
    r"|[a-z0-9](?:Key|Token|Secret|Password|Passphrase|Credentials?))\Z"
)
_PASSWORD = re.compile(
    r"://[^/@\s:]*:([^@\s]+)@|(?:password|passwd|pwd)\s*=\s*'?([^\s'&;]+)", re.IGNORECASE
)
SYNCED_KINDS = ("litellm_postgres", "litellm_api", "cloudflare_ai_gateway")
# A source that is pulled goes stale; a folder that people fill has no interval (table T1).
DEFAULT_INTERVALS = {"gateway": timedelta(minutes=5), "api": timedelta(hours=1)}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SPAN = re.compile(r"([1-9][0-9]{0,3}) (day|month|year)s?\Z")
_DURATION = re.compile(r"([0-9]+)\s*(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)\Z")
_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


class ConfigurationError(Exception):
    """Wrong use or configuration: one line that names the key and the fix (exit code 2)."""


def read_duration(value: object) -> timedelta:
    """A span written as 5m, 24h or 7d."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(str(value).strip())
    if match is None:
        raise ValueError(f"expected a duration such as 5m, 24h or 7d, found '{shown(value)}'")
    try:
        return timedelta(**{_DURATION_UNITS[match[2][0]]: int(match[1])})
    except (OverflowError, ValueError) as error:
        raise ValueError(f"a duration cannot be as long as '{shown(value)}'") from error


Duration = Annotated[timedelta, BeforeValidator(read_duration)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WarehouseSettings(_Section):
    """Where the DuckDB file lies and what it may use."""

    path: str = "warehouse.duckdb"
    memory_limit: str = "4GB"
    threads: int = Field(default=2, ge=1)


def _is_postgresql(dsn: str | None) -> bool:
    return dsn is not None and dsn.partition("://")[0] in ("postgresql", "postgres")


class SourceSettings(_Section):
    """One way of reading: a landing folder, with or without a connection that fills it.

    Attributes:
        account, gateway_id: Where Cloudflare keeps the gateway; without an id, it is the gateway's
            name.
        source_priority: Of two sources of one gateway that differ, the higher holds.
        mapping: For gateway_usage: a preset, or a file of one's own beside tollbook.yml.
        preset: The same, of those that come with the package.
        since: A connection is asked for nothing older; naive UTC.
        requests_per_minute: How fast an API is asked at most, in place of our own pace.
        statement_timeout: The longest a query on someone else's database may take.
        accepts_test_mode: Whether payments in the processor's test mode are taken for payments.
    """

    name: str
    kind: str
    gateway: str | None = None
    dsn: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    webhook_secret: str | None = None
    accepts_test_mode: bool = False
    interval: Duration | None = None
    source_priority: int = 0
    mapping: str | None = None
    account: str | None = None
    gateway_id: str | None = None
    preset: str | None = None
    since: datetime | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)
    statement_timeout: Duration = timedelta(minutes=1)

    @field_validator("since")
    @classmethod
    def _naive_utc(cls, since: datetime | None) -> datetime | None:
        return since.astimezone(UTC).replace(tzinfo=None) if since and since.tzinfo else since

    @model_validator(mode="after")
    def _known(self) -> SourceSettings:
        if not _SOURCE_NAME.match(self.name):
            raise ValueError(f"name '{self.name}' must be lower case letters, digits and _")
        if self.kind not in SOURCE_KINDS:
            raise ValueError(f"unknown kind '{self.kind}'; known kinds: {', '.join(SOURCE_KINDS)}")
        if self.kind == "litellm_postgres" and not _is_postgresql(self.dsn):
            raise ValueError(
                f"source '{self.name}' needs dsn: \"${{LITELLM_DATABASE_URL}}\", a URL like "
                "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
            )
        needed = {"litellm_api": "base_url", "cloudflare_ai_gateway": "account"}.get(self.kind)
        if needed and self.api_key and not getattr(self, needed):
            raise ValueError(f"source '{self.name}' of kind {self.kind} needs {needed}")
        if self.mapping is not None and self.preset is not None:
            raise ValueError(f"source '{self.name}' has mapping and preset; keep one")
        if (self.mapping or self.preset) and self.kind not in MAPPED_KINDS:
            kinds = ", ".join(MAPPED_KINDS)
            raise ValueError(f"source '{self.name}': only kinds {kinds} have a mapping; remove it")
        return self

    @property
    def gateway_name(self) -> str:
        """The gateway this source observes: its `gateway:`, else its own name."""
        return self.gateway or self.name

    @property
    def file_kinds(self) -> tuple[str, ...]:
        """The kinds of file its landing folder may hold, the assumed one first."""
        return FILE_KINDS_BY_SOURCE_KIND.get(self.kind, (self.kind,))

    @property
    def is_pulled(self) -> bool:
        """Whether a connection fills the folder; otherwise people do."""
        return bool(self.dsn or self.api_key or self.kind == "litellm_postgres")

    @property
    def is_extracted(self) -> bool:
        """Whether this version asks it itself."""
        return self.kind == "litellm_postgres" or (self.kind in API_KINDS and bool(self.api_key))

    @property
    def expected_interval(self) -> timedelta | None:
        """How often something should arrive; None for a folder that people fill."""
        if self.interval is not None or not self.is_pulled:
            return self.interval
        return DEFAULT_INTERVALS["gateway" if self.is_synced else "api"]

    @property
    def is_synced(self) -> bool:
        """Whether the five-minute job asks it too: requests as they are made, not sums of days."""
        return self.kind in SYNCED_KINDS


class ReportingSettings(_Section):
    """How calendars are drawn."""

    week_starts: Literal["monday", "sunday"] = "monday"


class PricingSettings(_Section):
    """Which catalogs give the list price, and what happens before the first of them."""

    list_order: tuple[str, ...] = ("litellm", "genai_prices")
    backcast: bool = True
    catalog_disagreement: float = Field(default=0.005, ge=0)


class QualitySettings(_Section):
    """The tolerances behind exceptions and the exit code."""

    quarantine_share: float = Field(default=0.05, ge=0, le=1)
    sync_delay: Duration = timedelta(minutes=5)
    lost_after: Duration = timedelta(hours=24)
    capture_rate: float = Field(default=0.95, ge=0, le=1)
    cost_tolerance: float = Field(default=1e-9, ge=0)
    invoice_tolerance: float = Field(default=0.01, ge=0)


class LatenessSettings(_Section):
    """How far back each job re-reads its sources."""

    sync: Duration = timedelta(minutes=15)
    hourly: Duration = timedelta(hours=3)
    daily: Duration = timedelta(hours=48)
    weekly: Duration = timedelta(days=7)


class DisputeSettings(_Section):
    """How long a provider has to answer."""

    business_days: int = Field(default=3, ge=0)


class PrivacySettings(_Section):
    """Which personal fields of a record are kept."""

    client_ip: Literal["keep", "drop"] = "drop"
    user_agent: Literal["keep", "drop"] = "drop"
    user_id: Literal["keep", "drop"] = "keep"


class RetentionSettings(_Section):
    """How long detail and landing files are kept: `25 months`, `90 days` or `7 years`."""

    detail: str = "25 months"
    landing: str = "13 months"

    @field_validator("detail", "landing")
    @classmethod
    def _check_span(cls, value: str) -> str:
        if _SPAN.match(value) is None:
            raise ValueError(f"expected a span such as 25 months or 90 days, found '{value}'")
        return value

    def detail_from(self, as_of: datetime) -> datetime:
        """Midnight (UTC) from which on a record keeps its detail."""
        return _midnight_before(as_of, self.detail)

    def landing_from(self, as_of: datetime) -> datetime:
        """Midnight (UTC) from which on a landed file is kept."""
        return _midnight_before(as_of, self.landing)


def _midnight_before(as_of: datetime, span: str) -> datetime:
    """Midnight as long before `as_of` as the span says; the last day of a shorter month."""
    match = _SPAN.match(span)
    assert match is not None, "checked where it was read"  # noqa: S101
    number, unit = int(match[1]), match[2]
    midnight = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return midnight - timedelta(days=number)
    months = midnight.year * 12 + midnight.month - 1 - number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    last = monthrange(max(year, 1), month + 1)[1]
    return midnight.replace(year=max(year, 1), month=month + 1, day=min(midnight.day, last))


class LandingSettings(_Section):
    """What becomes of a file a person dropped once it is loaded."""

    after_load: Literal["scrub", "keep"] = "scrub"


class LimitSettings(_Section):
    """Bounds of what a landed file may hold.

    A compressed file may inflate beyond `inflated_bytes` only while it stays below
    `inflation_ratio` times its own size: logs shrink 5 to 100 times, bombs 1,000 times.
    """

    line_bytes: int = Field(default=2**20, ge=1)
    field_characters: int = Field(default=4096, ge=1)
    inflated_bytes: int = Field(default=16 * 2**20, ge=1)
    inflation_ratio: int = Field(default=200, ge=1)


class AlertSettings(_Section):
    """Where to call when an exception of a type opens."""

    kind: Literal["webhook"]
    url: str
    types: tuple[str, ...] = ()


class Settings(_Section):
    """Everything tollbook.yml can say, with its defaults."""

    warehouse: WarehouseSettings = WarehouseSettings()
    sources: tuple[SourceSettings, ...] = ()
    exports: tuple[dict[str, Any], ...] = ()
    seeds: str | None = None
    reporting: ReportingSettings = ReportingSettings()
    pricing: PricingSettings = PricingSettings()
    quality: QualitySettings = QualitySettings()
    lateness: LatenessSettings = LatenessSettings()
    disputes: DisputeSettings = DisputeSettings()
    privacy: PrivacySettings = PrivacySettings()
    retention: RetentionSettings = RetentionSettings()
    landing: LandingSettings = LandingSettings()
    limits: LimitSettings = LimitSettings()
    alerts: tuple[AlertSettings, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named '{name}'; give each its own name")
        return self

    @model_validator(mode="after")
    def _gateways_speak_one_language(self) -> Settings:
        """Records of LiteLLM and of a mapping have ids that cannot be compared."""
        litellm = {s.gateway_name: s for s in self.sources if s.kind in LITELLM_SOURCE_KINDS}
        for source in self.sources:
            other = litellm.get(source.gateway_name)
            if other is not None and source.kind in MAPPED_KINDS:
                raise ValueError(
                    f"sources '{other.name}' ({other.kind}) and '{source.name}' ({source.kind}) "
                    f"both observe gateway '{source.gateway_name}', and their records cannot be "
                    "told to be the same; give one of them its own gateway:"
                )
        return self


@dataclass(frozen=True, slots=True)
class Runtime:
    """The settings in use with the folders and the clock of one invocation.

    Attributes:
        as_of: The clock, naive UTC.
        seeds: Absolute folder of people's reference data; it need not exist.
    """

    settings: Settings
    config_file: Path
    home: Path
    as_of: datetime
    seeds: Path

    @property
    def database(self) -> Path:
        """The pipeline's own DuckDB file."""
        return self.home / self.settings.warehouse.path

    @property
    def landing(self) -> Path:
        """The folder of landed files."""
        return self.home / "landing"

    @property
    def published(self) -> Path:
        """The folder readers use."""
        return self.home / "published"


def config_path(config: Path | None) -> Path:
    """The settings file an option names, else TOLLBOOK_CONFIG, else ./tollbook.yml; absolute."""
    return (config or Path(os.environ.get("TOLLBOOK_CONFIG", "tollbook.yml"))).absolute()


def read_runtime(
    *, config: Path | None = None, home: Path | None = None, as_of: str | None = None
) -> Runtime:
    """The runtime from options, else TOLLBOOK_* variables, else ./tollbook.yml and ./data.

    Raises:
        ConfigurationError: one line naming file, line, key and fix.
    """
    config_file = config_path(config)
    settings = read_settings(config_file)
    seeds = os.environ.get("TOLLBOOK_SEEDS") or settings.seeds or "seeds"
    return Runtime(
        settings=settings,
        config_file=config_file,
        home=(home or Path(os.environ.get("TOLLBOOK_HOME", "data"))).absolute(),
        as_of=_read_clock(as_of),
        seeds=(config_file.parent / seeds).absolute(),
    )


def _read_clock(as_of: str | None) -> datetime:
    if as_of is None:
        return datetime.now(UTC).replace(tzinfo=None)
    try:
        return read_time(as_of, "--as-of")[0]
    except RefusedError as error:
        raise ConfigurationError(
            f"--as-of: {error.refusal.reason}; write it like 2026-10-31T12:00:00Z"
        ) from error


def read_settings(config_file: Path) -> Settings:
    """The checked settings of one tollbook.yml, with ${VARIABLES} filled in.

    Raises:
        ConfigurationError: one line naming file, line, key and fix.
    """
    try:
        text = config_file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{config_file}: cannot be read ({error.strerror}); "
            "`tollbook init` writes one, --config names another"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{config_file}:{line}: a byte that is not UTF-8; save the file as UTF-8"
        ) from error
    try:
        node = yaml.compose(text)
        _refuse_ambiguous(node, config_file=config_file, parents=())
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{config_file}: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{config_file}: nested too deep") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{config_file}:1: expected `key: value` settings")
    filled = _fill(content, path=(), config_file=config_file, node=node)
    try:
        settings = Settings.model_validate(filled)
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error, config_file, node)) from error
    for number, source in enumerate(settings.sources):
        try:
            _read_mapping_of(source, config_file)
        except _NoMappingError as error:
            key = "mapping" if source.mapping else "preset" if source.preset else "kind"
            line = _line_of(node, ("sources", number, key))
            where = f"{config_file}:{line}: sources[{number}].{key}"
            raise ConfigurationError(f"{where}: {error}") from error
    return settings


# ---------------------------------------------------------------- mappings


class _NoMappingError(Exception):
    """A source names a mapping that is not there, or needs one and names none."""


def mapping_of(runtime: Runtime, source: SourceSettings) -> GatewayMapping | None:
    """How the files of a source are read; None for kinds that need no mapping, or have none.

    Raises:
        ConfigurationError: one line naming file, line, key and fix.
    """
    try:
        return _read_mapping_of(source, runtime.config_file)
    except _NoMappingError:
        # Only a folder that no source of tollbook.yml declares can be without.
        return None


def preset_names() -> list[str]:
    """The presets that come with the package, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yml"))


def _read_mapping_of(source: SourceSettings, config_file: Path) -> GatewayMapping | None:
    if source.kind not in MAPPED_KINDS:
        return None
    return read_mapping(_mapping_file(source, config_file.parent))


def _mapping_file(source: SourceSettings, folder: Path) -> Path:
    own = folder / "mappings"
    if source.preset is not None:
        return _preset_file(source.preset)
    name = source.mapping
    if name is not None and ("/" in name or name.endswith(".yml")):
        path = folder / name
        if not path.is_file():
            raise _NoMappingError(f"there is no file {path}; write it, or name a preset")
        return path
    if name is None and source.kind in PRESET_OF_KIND:
        return _preset_file(PRESET_OF_KIND[source.kind])
    if name is not None:
        return _own_or_preset(name, own)
    for guess in (source.gateway_name, source.name):
        if (own / f"{guess}.yml").is_file() or guess in preset_names():
            return _own_or_preset(guess, own)
    raise _NoMappingError(
        f"gateway_usage needs `mapping:`: a preset ({', '.join(preset_names())}) or a file of "
        f"your own such as mappings/mine.yml in {folder}"
    )


def _own_or_preset(name: str, own: Path) -> Path:
    path = own / f"{shown(name, 80)}.yml"
    return path if path.is_file() else _preset_file(name, own=own)


def _preset_file(name: str, *, own: Path | None = None) -> Path:
    if name in preset_names():
        return PRESETS / f"{name}.yml"
    or_own = "" if own is None else f", or write {own}/{shown(name, 80)}.yml"
    raise _NoMappingError(
        f"no mapping is called '{shown(name, 80)}'; known are {', '.join(preset_names())}{or_own}"
    )


def read_mapping(path: Path) -> GatewayMapping:
    """The checked mapping of one file.

    Raises:
        ConfigurationError: one line naming file, line, key and fix.
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    return _read_mapping(path, changed_ns)


@lru_cache(maxsize=64)
def _read_mapping(path: Path, _changed_ns: int) -> GatewayMapping:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    try:
        # Every value as its text: a factor keeps its digits, and `ok: true` maps to a word.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        _refuse_ambiguous(node, config_file=path, parents=())
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # makes text, lists and maps only
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deep") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}:1: expected the keys of a mapping; see a preset")
    try:
        return GatewayMapping.model_validate(_without_nulls(content))
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error, path, node)) from error


def _without_nulls(value: Any) -> Any:
    """The values, with YAML's ways to write nothing taken as nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return None if value in ("", "~", "null", "Null", "NULL") else value


def _refuse_ambiguous(node: Any, *, config_file: Path, parents: tuple[Any, ...]) -> None:
    """Nothing, unless a key is written twice or an anchor holds itself.

    Raises:
        ConfigurationError: naming the line; YAML itself would keep the last value, or never end.
    """
    line = node.start_mark.line + 1 if node is not None else 1
    if any(node is parent for parent in parents):
        raise ConfigurationError(f"{config_file}:{line}: an anchor (&) that holds itself (*)")
    within = (*parents, node)
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _refuse_ambiguous(each, config_file=config_file, parents=within)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, here = str(key.value), key.start_mark.line + 1
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise ConfigurationError(
                    f"{config_file}:{here}: {shown(name)}: written twice, first on line "
                    f"{seen[name]}; keep one"
                )
            seen[name] = here
            _refuse_ambiguous(value, config_file=config_file, parents=within)


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return f"{where}not YAML: {getattr(error, 'problem', None) or error}".replace("\n", " ")


def _fill(value: Any, *, path: tuple[Any, ...], config_file: Path, node: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _fill(v, path=(*path, k), config_file=config_file, node=node)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [
            _fill(v, path=(*path, i), config_file=config_file, node=node)
            for i, v in enumerate(value)
        ]
    if value is None or isinstance(value, bool):
        return value
    where = f"{config_file}:{_line_of(node, path)}: {_dotted(path)}"
    if _holds_secret(path, str(value)):
        raise ConfigurationError(
            f"{where}: a secret is never written here; use ${{NAME}} and set it in the environment"
        )

    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise ConfigurationError(f"{where}: ${{{match[1]}}} is not set; export {match[1]}=...")
        return found

    return _VARIABLE.sub(variable, value)


def _holds_secret(path: tuple[Any, ...], value: str) -> bool:
    """Whether a setting has a secret in plain text, by its name or as the password of a URL."""
    name = next((str(part) for part in reversed(path) if not isinstance(part, int)), "")
    if name == "dsn" and not _VARIABLE.search(value):
        return True
    if name != "dsn" and _SECRET_NAME.search(name):
        return bool(_VARIABLE.sub("", value).strip())
    passwords = (match[1] or match[2] for match in _PASSWORD.finditer(value))
    return any(_VARIABLE.sub("", password) for password in passwords)


def _first_problem(error: ValidationError, config_file: Path, node: Any) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    path = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"{config_file}:{_line_of(node, path)}"
    return f"{where}: {_dotted(path) or 'settings'}: {message}{more}"


def _dotted(path: tuple[Any, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}"
    return text.lstrip(".")


def _line_of(node: Any, path: tuple[Any, ...]) -> int:
    """The line on which the setting at `path` is written, or that of its nearest parent."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
