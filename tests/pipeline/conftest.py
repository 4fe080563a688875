"""Programs are run as in tests/stages."""

from tests.stages.conftest import answering, bench  # noqa: F401
