"""What asking the sources gave: rows, files, notes, problems, and the gaps they leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from orchestration.landing.write import LandingWriter


@dataclass(frozen=True, slots=True)
class Gap:
    """What a source was asked for and did not give.

    Attributes:
        part: The list or table concerned.
        from_at, to_at: The window, half-open, naive UTC; None where it has none.
        code: unauthorized, forbidden, unavailable, not_json, changed_shape, repeated_page, endless,
            too_dense, too_old, incomplete or refused.
        reason: One line: system, what, fix.
        is_final: Whether it is not asked for again, because it cannot be had.
    """

    part: str
    from_at: datetime | None
    to_at: datetime | None
    code: str
    reason: str
    is_final: bool = False


@dataclass(slots=True)
class SourceReport:
    """What asking one source gave.

    Attributes:
        rows: Rows landed by file kind.
        files: Files written, as paths below the source's folder.
        notes: What a person may want to know, in one line each.
        problems: What could not be read, in one line each; the rest was.
        gaps: The same as windows, for audit.
        read: Parts that were read to their end: what was missing of them is missing no more.
    """

    source: str
    rows: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    def add(self, kind: str, writer: LandingWriter) -> None:
        """Count what a writer landed."""
        self.files += [each.name for each in writer.landed]
        self.rows[kind] = self.rows.get(kind, 0) + sum(each.rows for each in writer.landed)

    def add_page(self, kind: str, files: list[str], rows: int) -> None:
        """Count landed pages."""
        self.files += files
        self.rows[kind] = self.rows.get(kind, 0) + rows

    def miss(self, gap: Gap) -> None:
        """Note what is missing, and say so; a line that was said already is not said again."""
        self.gaps.append(gap)
        if gap.reason not in self.problems and not gap.is_final:
            self.problems.append(gap.reason)
        elif gap.is_final:
            self.notes.append(f"{self.source}: {gap.reason}")


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What one extract step did, by source."""

    sources: tuple[SourceReport, ...] = ()

    @property
    def rows(self) -> int:
        """Rows landed."""
        return sum(sum(each.rows.values()) for each in self.sources)

    @property
    def problems(self) -> list[str]:
        """One line for everything that could not be read."""
        return [f"{each.source}: {line}" for each in self.sources for line in each.problems]
