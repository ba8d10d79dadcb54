"""The reports of a packet, as a page and as a PDF: what was charged, to whom, and why."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
from reportlab import rl_config
from reportlab.graphics import renderSVG
from reportlab.graphics.shapes import Drawing
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import (
    Flowable,
    KeepTogether,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from orchestration.warehouse import charts
from orchestration.warehouse.charts import BOLD, FAINT, FONT, INK, RULE, Step, money
from orchestration.warehouse.packet import REPORT_HTML, REPORT_PDF, SignOff
from orchestration.warehouse.packet_tables import month_after

_SHOWN = 12
_CAUSE = re.compile(r"(.+)_amount\Z")
_NO_CAUSES = frozenset({"variance_amount"})


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report: a heading, a sentence, and a chart or a table or both."""

    title: str
    text: str = ""
    chart: Drawing | None = None
    header: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = field(default_factory=tuple)
    # One letter a column: l, r.
    align: str = ""


def render_reports(
    connection: duckdb.DuckDBPyConnection, sign_off: SignOff, totals: Mapping[str, Any]
) -> dict[str, bytes]:
    """Both reports of a packet from its tables; bytes by file name."""
    charts.use_fonts()
    sections = _sections(connection, sign_off, totals)
    title = f"AI API spend of {sign_off.account_id}, {sign_off.billing_month}"
    lead = (
        f"Closed by {sign_off.reviewer} on {sign_off.closed_at:%Y-%m-%d %H:%M} UTC. "
        f"Days are those of {sign_off.time_zone}. Amounts are rounded here and exact in the tables "
        "of this packet; manifest.json has the sha256 of every file."
    )
    return {
        REPORT_HTML: html_page(title, lead, sections),
        REPORT_PDF: pdf_document(title, lead, sections),
    }


# ---------------------------------------------------------------- what it says


def _sections(
    connection: duckdb.DuckDBPyConnection, sign_off: SignOff, totals: Mapping[str, Any]
) -> list[Section]:
    tables = {
        name.removeprefix("packet_")
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where temporary"
        ).fetchall()
    }
    sections = []
    if "invoice_reconciliation" in tables:
        sections += _variances(connection)
    for currency in sorted(totals):
        sections.append(_bridge(totals[currency], currency))
        sections += _spent(connection, sign_off, currency)
    sections += [_exceptions(connection), _decisions(connection), _adjustments(connection)]
    sections += [_invoices(connection), _recharges(connection)]
    return [section for section in sections if section.chart is not None or section.rows]


def _bridge(totals: Mapping[str, str], currency: str) -> Section:
    amounts = {name: Decimal(amount) for name, amount in totals.items()}
    known = lambda name: amounts.get(name, Decimal(0))  # noqa: E731
    steps = [
        Step("List price of the usage", known("list_cost"), is_level=True),
        Step("Contract prices", known("provider_cost") - known("list_cost")),
        Step("Markup and fees", known("billed_cost") - known("provider_cost")),
        Step("Billed for usage", known("billed_cost"), is_level=True),
        Step("Top-up fees", known("topup_fee_by_day")),
        Step("Subscriptions", known("subscription_by_day")),
        Step("Corrections of closed months", known("adjustments")),
        Step("Charged back", known("total_cost"), is_level=True),
    ]
    shown = [step for step in steps if step.is_level or step.amount]
    if not known("list_cost") and not known("billed_cost"):
        shown = [step for step in shown if not step.is_level or step.name == "Charged back"]
    return Section(
        f"From list price to chargeback, {currency}",
        "As far as costs are known; what has no price is among the exceptions.",
        chart=charts.waterfall(shown, currency),
        header=("", currency),
        rows=[(step.name, f"{step.amount:f}") for step in shown],
        align="lr",
    )


def _variances(connection: duckdb.DuckDBPyConnection) -> list[Section]:
    """Expected to invoiced by cause, per currency, over all lines of the month's invoices."""
    names = [
        name
        for name, kind, *_ in connection.execute(
            "describe packet_invoice_reconciliation"
        ).fetchall()
        if kind.startswith("DECIMAL") and _CAUSE.match(name) and name not in _NO_CAUSES
    ]
    causes = [name for name in names if name not in ("amount_invoiced", "amount_expected")]
    columns = ["amount_expected", *causes, "amount_invoiced"]
    sums = ", ".join(f'sum("{name}")' for name in columns)
    sections = []
    for currency, *amounts in connection.execute(
        f"select currency, {sums} from packet_invoice_reconciliation group by 1 order by 1"
    ).fetchall():
        found = dict(zip(columns, (amount or Decimal(0) for amount in amounts), strict=True))
        steps = [
            Step("Expected", found["amount_expected"], is_level=True),
            *(
                Step(_words(name.removesuffix("_amount")), found[name])
                for name in causes
                if found[name]
            ),
            Step("Invoiced", found["amount_invoiced"], is_level=True),
        ]
        sections.append(
            Section(
                f"Why invoices differ from what was expected, {currency}",
                "All lines of the invoices that reach into the month; positive: billed more.",
                chart=charts.waterfall(steps, currency),
                header=("", currency),
                rows=[(step.name, f"{step.amount:f}") for step in steps],
                align="lr",
            )
        )
    return sections


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _spent(
    connection: duckdb.DuckDBPyConnection, sign_off: SignOff, currency: str
) -> list[Section]:
    first = date.fromisoformat(f"{sign_off.billing_month}-01")
    end = date.fromisoformat(f"{month_after(sign_off.billing_month)}-01")
    by_day = dict(
        connection.execute(
            "select billing_date, sum(amount) from packet_days "
            "where currency = ? and amount is not null group by 1",
            [currency],
        ).fetchall()
    )
    days = [first + timedelta(days=each) for each in range((end - first).days)]
    sections = [
        Section(
            f"Cost by day, {currency}",
            chart=charts.columns(
                [(f"{day:%d}", by_day.get(day, Decimal(0))) for day in days], currency
            ),
        )
    ]
    for title, column in (
        ("Charged back by cost center", "cost_center"),
        ("Charged back by team", "team_id"),
        ("Charged back by model", "model"),
    ):
        rows = connection.execute(
            f"""
            select coalesce({column}, 'none'), sum(direct_cost), sum(shared_cost),
                sum(adjustments), sum(total_cost), sum(requests)
            from packet_chargeback where currency = ?
            group by 1 order by 5 desc nulls last, 1
            """,
            [currency],
        ).fetchall()
        shown = [row for row in rows if row[4]][:_SHOWN]
        if shown:
            sections.append(
                Section(
                    f"{title}, {currency}",
                    f"The first {_SHOWN} of {len(rows)}." if len(rows) > _SHOWN else "",
                    chart=charts.bars([(str(row[0]), row[4]) for row in shown], currency),
                    header=("", "direct", "shared", "corrections", "total", "requests"),
                    rows=[
                        (str(name), *(money(amount) for amount in amounts), f"{requests:,}")
                        for name, *amounts, requests in rows[:_SHOWN]
                    ],
                    align="lrrrrr",
                )
            )
    return sections


def _exceptions(connection: duckdb.DuckDBPyConnection) -> Section:
    rows = connection.execute("""
        select exception_type, status, blocking, count(*), sum(amount_at_stake),
            count(*) - count(amount_at_stake), currency
        from packet_exceptions group by all order by 3 desc, 1, 2, 7
        """).fetchall()
    return Section(
        "Exceptions",
        "What had to be looked at; exceptions.csv names each of them.",
        header=("type", "status", "blocks", "number", "at stake", "amount unknown"),
        rows=[
            (
                kind,
                status,
                "yes" if blocking else "no",
                f"{count:,}",
                "unknown" if amount is None else f"{money(amount)} {currency}",
                f"{unknown:,}" if unknown else "",
            )
            for kind, status, blocking, count, amount, unknown, currency in rows
        ],
        align="lllrrr",
    )


def _decisions(connection: duckdb.DuckDBPyConnection) -> Section:
    rows = connection.execute("""
        select decided_at, decision, subject_type, subject_id, owner, coalesce(ticket, '')
        from packet_decisions order by 1, decision_id
        """).fetchall()
    return Section(
        "Decisions",
        header=("decided", "decision", "about", "owner", "ticket"),
        rows=[
            (f"{at:%Y-%m-%d}", decision, f"{kind} {subject}", owner, ticket)
            for at, decision, kind, subject, owner, ticket in rows
        ],
        align="lllll",
    )


def _adjustments(connection: duckdb.DuckDBPyConnection) -> Section:
    rows = connection.execute("""
        select adjusted_month, currency, sum(amount), sum(requests)
        from packet_chargeback_adjustments group by all order by all
        """).fetchall()
    return Section(
        "Corrections of closed months that this month bears",
        header=("month", "amount", "requests"),
        rows=[
            (month, f"{money(amount)} {currency}", f"{requests:,}")
            for month, currency, amount, requests in rows
        ],
        align="lrr",
    )


def _invoices(connection: duckdb.DuckDBPyConnection) -> Section:
    rows = connection.execute("""
        select vendor, invoice_number, invoice_type, period_start, period_end, total, currency,
            coalesce(approval_status, 'not approved')
        from packet_invoices order by 1, 2
        """).fetchall()
    return Section(
        "Invoices that reach into the month",
        header=("vendor", "number", "type", "period", "total", "status"),
        rows=[
            (
                vendor,
                number,
                kind,
                f"{start or ''} to {end or ''}",
                f"{money(total)} {currency}",
                status,
            )
            for vendor, number, kind, start, end, total, currency, status in rows
        ],
        align="llllrl",
    )


def _recharges(connection: duckdb.DuckDBPyConnection) -> Section:
    rows = connection.execute("""
        select requested_at, recharge_id, amount, currency, status, coalesce(approval_ticket, ''),
            match_status
        from packet_recharges order by 1, 2
        """).fetchall()
    return Section(
        "Top-ups",
        header=("requested", "recharge", "amount", "status", "ticket", "match"),
        rows=[
            (f"{at:%Y-%m-%d}", recharge, f"{money(amount)} {currency}", status, ticket, match)
            for at, recharge, amount, currency, status, ticket, match in rows
        ],
        align="llrlll",
    )


# ---------------------------------------------------------------- as a page

_SCREEN_FONT = "font-family: system-ui, sans-serif"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2.2rem 0 .3rem}
p{color:#5d6b7a;margin:.2rem 0 .8rem}svg{width:100%;max-width:48rem;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-size:.85rem;margin-top:.6rem}
th{text-align:left;color:#5d6b7a;font-weight:600}th,td{padding:.25rem .6rem .25rem 0;
border-bottom:1px solid #d5dce3;vertical-align:top;overflow-wrap:anywhere}
.r{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal}
@media print{body{margin:0}h2{break-after:avoid}}
"""


def html_page(title: str, lead: str, sections: Sequence[Section]) -> bytes:
    """A page that needs nothing but itself."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(lead)}</p>\n"
    ]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>\n")
        if section.text:
            parts.append(f"<p>{html.escape(section.text)}</p>\n")
        if section.chart is not None:
            parts.append(_svg(section.chart, section.title))
        if section.rows:
            parts.append(_html_table(section))
    parts.append("</body>\n</html>\n")
    return "".join(parts).encode()


def _svg(chart: Drawing, title: str) -> str:
    text = renderSVG.drawToString(chart)
    body = text[text.index("<svg") :]
    body = body.replace(f"font-family: {BOLD}", f"{_SCREEN_FONT}; font-weight: 600")
    body = body.replace(f"font-family: {FONT}", _SCREEN_FONT)
    # What is for a file of its own: its preamble, and names that must be one of a kind on a page.
    body = re.sub(r"<(title|desc|clipPath)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r' (?:id="group"|style="clip-path: [^"]*")', "", body)
    body = re.sub(r'(<svg) width="[^"]*" height="[^"]*"', r"\1", body, count=1)
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1) + "\n"


def _html_table(section: Section) -> str:
    right = ' class="r"'

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{right if side == 'r' else ''}>{html.escape(cell)}</{tag}>"
            for cell, side in zip(cells, section.align, strict=True)
        )

    lines = [f"<table>\n<thead><tr>{row(section.header, 'th')}</tr></thead>\n<tbody>\n"]
    lines += [f"<tr>{row(cells, 'td')}</tr>\n" for cells in section.rows]
    return "".join([*lines, "</tbody>\n</table>\n"])


# ---------------------------------------------------------------- as a PDF


def _style(size: float, **more: Any) -> ParagraphStyle:
    return ParagraphStyle(
        "text", fontName=FONT, fontSize=size, leading=size * 1.35, textColor=INK, **more
    )


def pdf_document(title: str, lead: str, sections: Sequence[Section]) -> bytes:
    """The same on paper; the same content gives the same bytes."""
    rl_config.invariant = 1
    charts.use_fonts()
    stream = io.BytesIO()
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        title=charts.drawable(title),
        author="Tollbook",
        leftMargin=48,
        rightMargin=47,
        topMargin=48,
        bottomMargin=48,
        invariant=1,
    )
    heading = _style(11, spaceBefore=14, spaceAfter=3)
    heading.fontName = BOLD
    first = _style(16, spaceAfter=4)
    first.fontName = BOLD
    faint = _style(8, spaceAfter=6)
    faint.textColor = FAINT
    story: list[Flowable] = [_paragraph(title, first), _paragraph(lead, faint)]
    for section in sections:
        head: list[Flowable] = [_paragraph(section.title, heading)]
        if section.text:
            head.append(_paragraph(section.text, faint))
        if section.chart is not None:
            head.append(section.chart)
        story.append(KeepTogether(head))
        if section.rows:
            story += [Spacer(1, 4), _pdf_table(section)]
    document.build(story, onFirstPage=_number_page, onLaterPages=_number_page)
    return stream.getvalue()


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(html.escape(charts.drawable(text)), style)


def _number_page(canvas: Any, document: Any) -> None:
    canvas.setFont(FONT, 7)
    canvas.setFillColor(FAINT)
    canvas.drawString(48, 28, document.title)
    canvas.drawRightString(A4[0] - 47, 28, f"page {document.page}")


def _pdf_table(section: Section) -> Table:
    cell, right = _style(7), _style(7, alignment=2)
    styles = [right if side == "r" else cell for side in section.align]
    widths = _widths(section)
    lines = [
        [_paragraph(text, style) for text, style in zip(cells, styles, strict=True)]
        for cells in (section.header, *section.rows)
    ]
    table = Table(lines, colWidths=widths, repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 6),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ]
        )
    )
    return table


def _widths(section: Section) -> list[float]:
    """Columns as wide as their longest text asks for, within the width of the page."""
    asked = [
        min(
            220,
            14
            + max(charts.text_width(cells[place], 7) for cells in (section.header, *section.rows)),
        )
        for place in range(len(section.header))
    ]
    total = sum(asked)
    return [each * min(1, charts.WIDTH / total) for each in asked]
