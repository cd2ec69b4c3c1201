"""
A test case for a TCP program on a simulated network, with the client behind a lossy radio link.

    trial examples/test_lossy_tcp.py
    pytest examples/test_lossy_tcp.py
    python examples/test_lossy_tcp.py

The test needs no kernel device, and its simulated time passes at once. The same seed gives the same segments each time.
"""

from __future__ import annotations

import unittest

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.middleware import Netem
from txtuntap.network import Network

RADIO = "delay 20ms 10ms loss 20% duplicate 5%"


class Register(LineReceiver):
    """
    The application's server, which stores each report and confirms it.
    """

    def __init__(self, reports: list[bytes]) -> None:
        self.reports = reports

    def lineReceived(self, line: bytes) -> None:
        self.reports.append(line)
        self.sendLine(b"noted " + line)


class Reporter(LineReceiver):
    """
    The application's client, which sends all unconfirmed reports over each new connection.
    """

    def __init__(self, reports: list[bytes], done: Deferred[None]) -> None:
        self.reports = reports
        self.done = done

    def connectionMade(self) -> None:
        # If the peer acknowledges nothing for 60 seconds, the connection ends and ClientService makes another.
        self.transport.setUserTimeout(60)  # type: ignore[union-attr]
        for report in self.reports:
            self.sendLine(report)

    def lineReceived(self, line: bytes) -> None:
        self.reports.remove(line.removeprefix(b"noted "))
        if not self.reports:
            self.done.callback(None)


class LossyTCPTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Network(seed=1)
        switch = self.net.switch()
        server = self.net.host("10.0.0.1/24", switch)
        self.far = self.net.host("10.0.0.2/24", switch, RADIO)
        self.net.start()
        self.addCleanup(self.net.stop)
        self.noted: list[bytes] = []
        self.open = [b"%d" % number for number in range(10_000)]
        self.done: Deferred[None] = Deferred()
        TCP4ServerEndpoint(server, 99).listen(Factory.forProtocol(lambda: Register(self.noted)))
        reporter = Factory.forProtocol(lambda: Reporter(self.open, self.done))
        # The host is both the reactor of the endpoint and the clock of the service.
        ClientService(TCP4ClientEndpoint(self.far, "10.0.0.1", 99), reporter, lambda _: 10, self.far).startService()

    def test_everyReportIsNotedInOrder(self) -> None:
        expected = self.open.copy()
        self.net.result(self.done)
        self.assertEqual(self.noted, expected)
        self.assertGreater(self.far.counters["tcp"]["retransSegs"], 0)

    def test_reportsAreNotedAfterAnHourWithoutTheLink(self) -> None:
        radio = self.net.impairment(self.far)
        while not self.noted:
            self.net.run(0.01)
        radio.up = radio.down = Netem(loss=1)
        self.net.run(3600)
        self.assertLess(len(self.noted), 10_000)
        radio.up = radio.down = Netem.of(RADIO)
        self.net.result(self.done)
        self.assertEqual(len(set(self.noted)), 10_000)


if __name__ == "__main__":
    unittest.main()
