"""The charts of a packet's reports, drawn once for paper and screen alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import reportlab
from reportlab.graphics import shapes
from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import HexColor
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

# Their keywords are typed as one another's.
Line: Any = shapes.Line
Rect: Any = shapes.Rect
String: Any = shapes.String
FONT, BOLD = "Vera", "VeraBd"
WIDTH = 500.0
INK, FAINT, RULE = HexColor("#1c2733"), HexColor("#5d6b7a"), HexColor("#d5dce3")
TOTAL, RISE, FALL = HexColor("#2f5d8a"), HexColor("#b3541e"), HexColor("#2e7d5b")
_SIZE = 8.0
_LABEL = 150.0
_ROW = 15.0


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of a waterfall: a level that is reached, or a change of it."""

    name: str
    amount: Decimal
    is_level: bool = False


@cache
def use_fonts() -> None:
    """Have the fonts that come with the library at hand; they are embedded in what is written."""
    folder = Path(reportlab.__file__).parent / "fonts"
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))


def drawable(text: object) -> str:
    """The text in characters the font has; a reader finds the others in the tables."""
    use_fonts()
    face: Any = getattr(pdfmetrics.getFont(FONT), "face")  # noqa: B009  # typed as any font
    known = face.charToGlyph
    return "".join(each if ord(each) in known else "?" for each in str(text))


def fitted(text: object, width: float, *, size: float = _SIZE, font: str = FONT) -> str:
    """The text as far as it goes on a width in points."""
    whole = drawable(text)
    if pdfmetrics.stringWidth(whole, font, size) <= width:
        return whole
    while whole and pdfmetrics.stringWidth(f"{whole}...", font, size) > width:
        whole = whole[:-1]
    return f"{whole}..."


def text_width(text: object, size: float) -> float:
    """How wide a text is, in points."""
    return pdfmetrics.stringWidth(drawable(text), FONT, size)


def money(amount: Decimal | None) -> str:
    """An amount for people: two places, more where it is small; the tables have it in full."""
    if amount is None:
        return "unknown"
    places = 2 if not amount or abs(amount) >= Decimal("0.1") else 6
    return f"{amount:,.{places}f}"


def waterfall(steps: Sequence[Step], currency: str) -> Drawing:
    """How one level becomes another, step by step, from top to bottom."""
    rows, level = [], Decimal(0)
    for step in steps:
        start = Decimal(0) if step.is_level else level
        level = step.amount if step.is_level else level + step.amount
        rows.append((step, start, level))
    low = min(Decimal(0), *(min(start, end) for _, start, end in rows))
    high = max(Decimal(0), *(max(start, end) for _, start, end in rows))
    drawing = _Rows(len(rows), low=low, high=high)
    for place, (step, start, end) in enumerate(rows):
        color = TOTAL if step.is_level else RISE if step.amount >= 0 else FALL
        sign = "+" if not step.is_level and step.amount > 0 else ""
        label = f"{sign}{money(step.amount)} {currency}"
        drawing.bar(place, step.name, start, end, color=color, label=label, is_bold=step.is_level)
        if place:
            drawing.link(place, start if not step.is_level else end)
    return drawing.drawing


def bars(rows: Sequence[tuple[str, Decimal]], currency: str) -> Drawing:
    """Amounts beside their names, from top to bottom."""
    low = min(Decimal(0), *(amount for _, amount in rows))
    high = max(Decimal(0), *(amount for _, amount in rows))
    drawing = _Rows(len(rows), low=low, high=high)
    for place, (name, amount) in enumerate(rows):
        drawing.bar(
            place, name, Decimal(0), amount, color=TOTAL, label=f"{money(amount)} {currency}"
        )
    return drawing.drawing


class _Rows:
    """Horizontal bars on one scale, with their names before and their amounts behind them."""

    _SPAN = WIDTH - _LABEL - 110.0

    def __init__(self, count: int, *, low: Decimal, high: Decimal) -> None:
        use_fonts()
        self._height = _ROW * count + 4
        self._low, self._scale = low, (high - low) or Decimal(1)
        self.drawing = Drawing(WIDTH, self._height)
        zero = self._x(Decimal(0))
        self._add(Line(zero, 0, zero, self._height, strokeColor=RULE, strokeWidth=0.75))

    def _x(self, amount: Decimal) -> float:
        # A picture: the only place where an amount becomes a float.
        return _LABEL + float((amount - self._low) / self._scale) * self._SPAN

    def _y(self, place: int) -> float:
        return self._height - _ROW * (place + 1)

    def _add(self, shape: Any) -> None:
        self.drawing.add(shape)

    def bar(
        self,
        place: int,
        name: str,
        start: Decimal,
        end: Decimal,
        *,
        color: Any,
        label: str,
        is_bold: bool = False,
    ) -> None:
        """One bar from start to end; a bar of nothing is a thin mark."""
        font = BOLD if is_bold else FONT
        left, right = sorted((self._x(start), self._x(end)))
        y = self._y(place)
        text = fitted(name, _LABEL - 8, font=font)
        self._add(String(0, y + 4, text, fontName=font, fontSize=_SIZE, fillColor=INK))
        width = max(right - left, 0.75)
        self._add(
            Rect(left, y + 2, width, _ROW - 5, fillColor=color, strokeColor=None, strokeWidth=0)
        )
        self._add(
            String(right + 5, y + 4, drawable(label), fontName=font, fontSize=_SIZE, fillColor=INK)
        )

    def link(self, place: int, level: Decimal) -> None:
        """The level that the bar above ends on, down to where this one begins."""
        x, y = self._x(level), self._y(place)
        self._add(Line(x, y + _ROW - 3, x, y + _ROW + 2, strokeColor=FAINT, strokeWidth=0.5))


def columns(rows: Sequence[tuple[str, Decimal]], currency: str) -> Drawing:
    """Amounts day by day, from left to right; every fifth day is named."""
    use_fonts()
    height, base = 120.0, 16.0
    high = max((amount for _, amount in rows), default=Decimal(0)) or Decimal(1)
    drawing = Drawing(WIDTH, height)
    drawing.add(Line(0, base, WIDTH, base, strokeColor=RULE, strokeWidth=0.75))
    top = f"highest day {money(high)} {currency}"
    drawing.add(String(0, height - 9, top, fontName=FONT, fontSize=_SIZE, fillColor=FAINT))
    step = WIDTH / max(len(rows), 1)
    for place, (name, amount) in enumerate(rows):
        tall = float(max(amount, Decimal(0)) / high) * (height - base - 16)
        left = place * step
        drawing.add(
            Rect(left + 1, base, step - 2, tall, fillColor=TOTAL, strokeColor=None, strokeWidth=0)
        )
        if place % 5 == 0:
            drawing.add(String(left + 1, 5, name, fontName=FONT, fontSize=_SIZE, fillColor=FAINT))
    return drawing
