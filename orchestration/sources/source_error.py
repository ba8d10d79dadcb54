"""What every source that cannot be read raises."""


class SourceError(Exception):
    """A source that could not be read: one line that says what to do, without secrets or data."""
