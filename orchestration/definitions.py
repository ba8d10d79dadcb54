"""What `dagster dev` loads: the definitions of the home that the environment names."""

from orchestration.config import read_runtime
from orchestration.defs.code_location import build_code_location
from orchestration.defs.resources import tollbook_resource

_runtime = read_runtime()
definitions = build_code_location(_runtime, tollbook_resource(_runtime)).definitions
