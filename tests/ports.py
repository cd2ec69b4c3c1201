"""
A port without a device, for the tests of what goes on one.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from txtuntap.interfaces import IPacketTransport
from txtuntap.wire.offload import Offload


@implementer(IPacketTransport)
class Wire:
    """
    A port that keeps what is written to it.
    """

    linkAddress: bytes | None = None
    offloads = 0

    def __init__(self, mtu: int = 1500) -> None:
        self.mtu = mtu
        self.clock: IReactorTime = Clock()
        self.sent: list[bytes] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.sent.append(b"".join(buffers))
