"""Programs are run as in tests/stages."""

from tests.stages.conftest import bench  # noqa: F401
