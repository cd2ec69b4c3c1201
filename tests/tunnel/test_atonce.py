"""
Tests for the transport that writes at once: L{txtuntap.tunnel.atonce}.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.tunnel.test_security import Recorder
from txtuntap.tunnel.atonce import BUFFER_SIZE, AtOnceTransport, atOnce


class Producer:
    """
    A producer that records the calls of its methods.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


#: A program that frees long blocks, and prints how many new pages the later ones take. Its argument is the number of
#: tunnels that it makes before.
_FREES = """
import resource, sys
from twisted.internet.task import Clock
from txtuntap.device import TUN
from txtuntap.tunnel import Frames, StreamFactory, Tunnel
for _ in range(int(sys.argv[1])):
    StreamFactory(Tunnel(TUN), Frames, Clock())
for number in range(200):
    if number == 100:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"a" * 200_000) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or sys.maxsize < 1 << 32,
    reason="the C library cannot be told to keep freed memory",
)
def test_aTunnelKeepsFreedMemory() -> None:
    faults = [int(subprocess.check_output([sys.executable, "-c", _FREES, tunnels])) for tunnels in ("0", "1")]
    # Without a tunnel, each of the later blocks takes 49 new pages.
    assert faults[0] > 5000, faults
    assert faults[1] < 500, faults


@pytest.mark.unix("sendmsg")
class AtOnceTests(SynchronousTestCase):
    """
    Tests for L{AtOnceTransport} on one of two sockets that are connected.
    """

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        own, self.peer = socket.socketpair()
        self.addCleanup(self.peer.close)
        own.setblocking(False)
        self.peer.setblocking(False)
        self.recorder = Recorder()
        self.below: Any = Connection(own, self.recorder, self.reactor)
        self.below.connected = 1
        self.transport = atOnce(self.below)
        self.producer = Producer()
        self.transport.registerProducer(self.producer, True)

    def received(self, octets: int) -> bytes:
        """
        Read octets that the peer receives, while the transport writes as the reactor would have it do. The connection
        ends if the transport says so.
        """
        data = b""
        while len(data) < octets:
            if self.below in self.reactor.getWriters():
                reason = self.below.doWrite()
                if reason is not None:
                    self.below.connectionLost(Failure(reason))
            data += self.peer.recv(1 << 20)
        return data

    def test_octetsAreWrittenAtOnce(self) -> None:
        self.transport.write(b"one")
        self.transport.writeSequence([b" and", memoryview(b" two")])
        many = [b"%d" % (each % 10) for each in range(2000)]
        self.transport.writeSequence(many)
        self.assertEqual([], self.reactor.getWriters())
        self.assertEqual(b"one and two" + b"".join(many), self.peer.recv(1 << 20))
        self.assertEqual([], self.producer.calls)

    def test_theProducerIsPausedWhileOctetsWait(self) -> None:
        self.transport.writeSequence([b"a" * 4_000_000, b"b"])
        self.assertEqual(["pause"], self.producer.calls)
        # The order of all octets stays.
        self.transport.write(b"c")
        self.assertEqual(b"a" * 4_000_000 + b"bc", self.received(4_000_002))
        self.assertEqual("resume", self.producer.calls[-1])
        self.assertEqual(1, self.producer.calls.count("resume"))
        self.transport.write(b"d")
        self.assertEqual([], self.reactor.getWriters())
        self.assertEqual(b"d", self.peer.recv(10))

    def test_theConnectionIsClosedWhenAllIsWritten(self) -> None:
        self.transport.unregisterProducer()
        self.transport.write(b"a" * 4_000_000)
        self.transport.loseConnection()
        self.assertFalse(self.below.disconnected)
        self.assertEqual(b"a" * 4_000_000, self.received(4_000_000))
        self.assertTrue(self.below.disconnected)
        # Nothing is written to a closed connection.
        self.transport.write(b"b")
        self.assertEqual(b"", self.peer.recv(10))
        self.assertEqual([], self.producer.calls)

    def test_aLostConnectionStopsTheProducer(self) -> None:
        self.peer.close()
        self.transport.write(b"a")
        self.assertEqual([self.below], self.reactor.getWriters())
        reason = self.below.doWrite()
        self.below.connectionLost(Failure(reason))
        self.assertEqual("stop", self.producer.calls[-1])
        self.assertIs(reason, self.recorder.reason.value)

    def test_onlySocketsWriteAtOnce(self) -> None:
        self.assertIsInstance(self.transport, AtOnceTransport)
        self.assertEqual(BUFFER_SIZE, self.below.bufferSize)
        self.assertIs(self.below.reactor, self.transport.reactor)
        other = StringTransport()
        self.assertIs(other, atOnce(other))
