"""
A test case on a simulated network of three hosts at a switch, with one host behind a lossy radio link.

    trial examples/test_lossy_network.py
    pytest examples/test_lossy_network.py
    python examples/test_lossy_network.py

The test needs no kernel device, and its simulated time passes at once. The same seed loses the same packets each time.
"""

from __future__ import annotations

import unittest
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.middleware import Netem
from txtuntap.network import Network

SERVER = "10.0.0.1"
RADIO = "delay 20ms 10ms loss 30% duplicate 5%"


class Register(DatagramProtocol):
    """
    The application's server, which stores each report and confirms it.
    """

    transport: Any

    def __init__(self) -> None:
        self.reports: set[bytes] = set()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.reports.add(datagram)
        self.transport.write(b"noted " + datagram, addr)


class Reporter(DatagramProtocol):
    """
    The application's client, which sends its report once a second until the server confirms it.
    """

    transport: Any

    def __init__(self, reactor: Any, report: bytes) -> None:
        self.reactor = reactor
        self.report = report
        self.tries = 0
        self.noted: Deferred[Any] = Deferred()

    def startProtocol(self) -> None:
        self.tries += 1
        self.transport.write(self.report, (SERVER, 99))
        self.again = self.reactor.callLater(1, self.startProtocol)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if datagram == b"noted " + self.report and not self.noted.called:
            self.again.cancel()
            self.noted.callback(self.reactor.seconds())


class LossyNetworkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Network(seed=1)
        switch = self.net.switch()
        server = self.net.host(f"{SERVER}/24", switch)
        self.near = self.net.host("10.0.0.2/24", switch, "delay 1ms")
        self.far = self.net.host("10.0.0.3/24", switch, RADIO)
        self.register = Register()
        server.listenUDP(99, self.register)
        self.net.start()
        self.addCleanup(self.net.stop)

    def test_everyReportIsNotedOnce(self) -> None:
        reporters = [Reporter((self.near, self.far)[n % 2], b"%d" % n) for n in range(40)]
        for reporter in reporters:
            reporter.reactor.listenUDP(0, reporter)
        for reporter in reporters:
            self.net.result(reporter.noted)
        self.assertEqual(len(self.register.reports), 40)
        self.assertGreater(max(each.tries for each in reporters[1::2]), 3)

    def test_aReportIsNotedAfterAnHourWithoutTheLink(self) -> None:
        radio = self.net.impairment(self.far)
        radio.up = radio.down = Netem(loss=1)
        reporter = Reporter(self.far, b"far")
        self.far.listenUDP(0, reporter)
        self.net.run(3600)
        self.assertEqual(self.register.reports, set())
        radio.up = radio.down = Netem.of(RADIO)
        self.assertGreater(self.net.result(reporter.noted), 3600)


if __name__ == "__main__":
    unittest.main()
