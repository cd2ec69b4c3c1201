"""
Single turns of a reactor in tests.
"""

from __future__ import annotations

from twisted.internet.task import Clock


def turn(clock: Clock) -> None:
    """
    Make the calls that wait for the next turn of the reactor, and not those that they cause.
    """
    calls, clock.calls = clock.calls, []
    for call in calls:
        call.called = 1
        call.func(*call.args, **call.kw)
