"""hour-cold: importing dagster, dbt and great_expectations in a new process."""

import dagster  # noqa: F401
import dbt.cli.main  # noqa: F401
import great_expectations  # noqa: F401
