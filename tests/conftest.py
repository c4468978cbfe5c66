"""Settings of all tests."""

from __future__ import annotations

import hypothesis
import pytest
from certificates import Certificates

# How long an example takes is the machine's affair; what it does is replayed from its seed.
hypothesis.settings.register_profile("rudp", deadline=None, print_blob=True)
hypothesis.settings.load_profile("rudp")


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """Certificates and contexts for TLS."""
    return Certificates()
