"""
A producer for the tests of TCP's transport.
"""

from __future__ import annotations

from typing import Any


class Producer:
    """
    A producer that records the calls of its transport.

    @ivar then: called at each C{resumeProducing}.
    """

    def __init__(self, then: Any = None) -> None:
        self.events: list[str] = []
        self.then = then

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")
        if self.then is not None:
            self.then()

    def stopProducing(self) -> None:
        self.events.append("stop")
