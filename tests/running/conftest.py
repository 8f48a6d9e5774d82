"""Fixtures for training in the test's own process."""
import signal

import pytest


@pytest.fixture
def own_signals():
    """Restores the signal handlers after the test, because an interrupted training leaves its handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGURG)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
