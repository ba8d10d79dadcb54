"""Text that a spreadsheet must not run."""

from __future__ import annotations

# A spreadsheet takes a text that begins with one of these as a formula, or hides what follows.
_FORMULA_STARTS = frozenset("=+-@\t\r\0")


def without_formula(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula: a leading ' where it would."""
    for character in text:
        if character in _FORMULA_STARTS:
            return "'" + text
        if not character.isspace():
            return text
    return text
