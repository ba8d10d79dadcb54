"""Pure domain: values, units, prices and periods. Standard library only."""
