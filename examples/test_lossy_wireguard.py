"""
A test case for a program that speaks through WireGuard, on a simulated network that loses and reorders packets.

    trial examples/test_lossy_wireguard.py
    pytest examples/test_lossy_wireguard.py
    python examples/test_lossy_wireguard.py

The test needs no kernel device and no privilege, and its simulated time passes at once. The same seeds give the same
messages each time.
"""

from __future__ import annotations

import unittest
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.middleware import Netem
from txtuntap.network import Network
from txtuntap.wireguard import PrivateKey, WireGuard

RADIO = "delay 30ms 30ms loss 30%"
KEYS = [PrivateKey.generate(Random(number)) for number in (1, 2)]


class Register(Protocol):
    """
    The application's server, which stores what it receives.
    """

    def __init__(self, size: int, done: Deferred[bytes]) -> None:
        self.size = size
        self.done = done
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) == self.size:
            self.done.callback(self.data)


class LossyWireGuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Network(seed=1)
        switch = self.net.switch()
        self.radio = self.net.host("192.0.2.2/24", switch, RADIO)
        outside = [self.net.host("192.0.2.1/24", switch), self.radio]
        self.wireguards = [
            WireGuard(key, 51820, self.net.clock, outside=host, random=Random(1), secrets=Random(number))
            for number, (key, host) in enumerate(zip(KEYS, outside, strict=True))
        ]
        self.wireguards[0].addPeer(KEYS[1].public, ["10.9.0.2"])
        self.wireguards[1].addPeer(KEYS[0].public, ["10.9.0.1"], "192.0.2.1:51820")
        self.server, self.client = self.net.host("10.9.0.1/24"), self.net.host("10.9.0.2/24")
        for wireguard, host in zip(self.wireguards, (self.server, self.client), strict=True):
            self.net.link(wireguard, host.ip, mtu=1420)
        self.net.start()
        self.addCleanup(self.net.stop)

    def test_allDataIsReceivedInOrder(self) -> None:
        data = Random(1).randbytes(100_000)
        done: Deferred[bytes] = Deferred()
        self.server.listenTCP(80, Factory.forProtocol(lambda: Register(len(data), done)))
        endpoint = TCP4ClientEndpoint(self.client, "10.9.0.1", 80, timeout=120)
        transport: Any = self.net.result(connectProtocol(endpoint, Protocol())).transport
        transport.write(data)
        self.assertEqual(self.net.result(done), data)
        self.assertGreater(self.client.counters["tcp"]["retransSegs"], 0)
        # Reordered messages are no replays.
        self.assertEqual(self.wireguards[0].counters["inReplays"], 0)

    def test_aSessionBeginsAfterAnHourWithoutTheLink(self) -> None:
        link = self.net.impairment(self.radio)
        link.up = link.down = Netem(loss=1)
        self.assertRaises(TimeoutError, self.net.result, self.client.ping("10.9.0.1", timeout=7200), 3600)
        link.up = link.down = Netem()
        self.assertEqual(self.net.result(self.client.ping("10.9.0.1", timeout=10)).source, "10.9.0.1")
        self.assertGreater(self.wireguards[1].counters["outInitiations"], 10)


if __name__ == "__main__":
    unittest.main()
