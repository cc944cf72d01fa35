"""What holds for every test."""

import os

import pytest
from hypothesis import settings

# Speed is printed, never asserted: an example that waits for a busy machine is no failure.
settings.register_profile("eventmill", deadline=None)
settings.load_profile("eventmill")

# What the user's shell has set: addresses of real servers and keys of paid accounts. No test may act on them.
_OF_THE_USER = ("EVENTMILL_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_API_", "DATABASE_URL", "KAFKA", "REGISTRY")


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user's settings out of the environment; the `addresses` of integration tests are read before."""
    for name in list(os.environ):
        if name.startswith(_OF_THE_USER):
            monkeypatch.delenv(name)
