"""
The tests of L{tests.conversation} between two hosts of this package, in memory and on a test clock.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.conversation import ECHO, OURS, THEIRS, ConversationMixin, ask, resultOf
from tests.ports import joinHosts
from tests.recorders import Echo
from txtuntap import Host
from txtuntap.testing import TAP, TUN


class TAPTests(ConversationMixin, SynchronousTestCase):
    mode = TAP

    def setUp(self) -> None:
        self.clock = Clock()
        self.host, self.peer = (Host(addresses, self.clock) for addresses in (OURS, THEIRS))
        joinHosts(self.clock, self.mode, self.host, self.peer)
        for host in self.host, self.peer:
            host.listenUDP(ECHO, Echo())

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        Advance the clock until a Deferred has fired, and return its result.
        """
        return resultOf(waited, lambda: self.clock.advance(0.01))

    def peerPings(self, address: str, size: int, timeout: int = 10) -> bool:
        try:
            self.wait(self.peer.ping(address, size, timeout=timeout))
        except TimeoutError:
            return False
        return True

    def peerAsks(self, address: str, port: int, data: bytes) -> bytes:
        return bytes(self.wait(ask(self.peer, address, port, data)))


class TUNTests(TAPTests):
    mode = TUN
