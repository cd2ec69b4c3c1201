"""
Tests for what a service logs on SIGUSR2.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.tcp.rawpeer import OURS, THEIRS, Readers, segment
from txtuntap import TuntapPort
from txtuntap.service import HostService, HostServiceSettings, InterfaceServiceSettings
from txtuntap.service.interface import handleSignals
from txtuntap.testing import TUN, MemoryDevice
from txtuntap.wire.tcp import SYN


@pytest.mark.unix("SIGUSR2")
class DumpTests(SynchronousTestCase):
    """
    Tests for the log lines about a host's TCP connections.
    """

    reactor: Any

    def setUp(self) -> None:
        self.reactor = Clock()
        self.reactor.callFromThread = lambda call: call()
        interface = InterfaceServiceSettings(device=MemoryDevice(TUN, "tt0"), control=False)
        self.service = HostService(HostServiceSettings(interface=interface, addresses=[f"{OURS}/24"]), self.reactor)
        self.device = MemoryDevice(TUN)
        TuntapPort("", self.service.host.ip, reactor=self.reactor, device=self.device).startListening()

    def dumped(self) -> list[str]:
        """
        Send SIGUSR2, and return the lines about TCP that the service logs.
        """
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        before = signal.getsignal(signal.SIGUSR2)
        hangUp = signal.getsignal(signal.SIGHUP)
        handleSignals(self.reactor, self.service._dump)
        globalLogPublisher.addObserver(observe)
        try:
            signal.raise_signal(signal.SIGUSR2)
        finally:
            globalLogPublisher.removeObserver(observe)
            signal.signal(signal.SIGUSR2, before)
            signal.signal(signal.SIGHUP, hangUp)
        return [line for line in lines if line.startswith("tcp")]

    def receiveSYNs(self, count: int) -> None:
        self.service.host.listenTCP(80, Readers(), backlog=2000)
        for number in range(count):
            self.device.deliver(segment(THEIRS, OURS, 4000 + number, 80, 1000, 0, SYN))
            self.reactor.advance(0)

    def test_nothingIsLoggedWithoutTCP(self) -> None:
        self.assertEqual(self.dumped(), [])

    def test_eachConnectionIsLogged(self) -> None:
        self.receiveSYNs(2)
        counters, *connections = self.dumped()
        self.assertIn("passiveOpens 2", counters)
        self.assertEqual(
            connections,
            [
                f"tcp connection: SYN-RECEIVED Recv-Q 0 Send-Q 0 {OURS}:80 {THEIRS}:{port} snd_wnd:0 rcv_wnd:65535"
                for port in (4000, 4001)
            ],
        )

    def test_theNumberOfLinesIsBounded(self) -> None:
        self.receiveSYNs(1003)
        lines = self.dumped()
        self.assertEqual(len(lines), 1 + 1000 + 1)
        self.assertEqual(lines[-1], "tcp connections: 3 more")
