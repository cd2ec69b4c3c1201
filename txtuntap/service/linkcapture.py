"""
A capture on a link, for the services that have no device.
"""

from __future__ import annotations

from typing import Any

from txtuntap.middleware import Capture


class LinkCapture(Capture):
    """
    A capture on a link, which has no name of its own. It has no sink at first.
    """

    handlesFailures = True

    def __init__(self, name: str, proto: Any) -> None:
        """
        @param name: the name of the interface in the files.
        @param proto: the protocol to wrap: see L{Capture}.
        """
        super().__init__(None, proto)
        self._name = name.encode(errors="surrogateescape")

    @property
    def interface(self) -> bytes:
        """
        The name of the interface.
        """
        return self._name
