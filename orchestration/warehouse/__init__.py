"""The DuckDB warehouse: connect, load, transform, check, publish and read."""
