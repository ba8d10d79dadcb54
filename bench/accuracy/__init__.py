"""Faults planted in invented months, and which of them the pipeline finds."""
