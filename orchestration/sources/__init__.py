"""One module per system: its API (pages in) and its records (raw values to typed records)."""
