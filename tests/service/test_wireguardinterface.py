"""
Tests for the service of WireGuard on a TUN device in memory.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from twisted.logger import capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from tests.middleware.test_meter import scraped
from tests.service.sharedhosts import Device, NoMonitor
from tests.service.test_wireguardservice import FILE, FileTestCase
from tests.wireguard.test_protocol import KEYS, Datagrams
from txtuntap.device import configure, monitor
from txtuntap.device.settings import InterfaceSettings
from txtuntap.middleware.prometheus import InterfaceCollector
from txtuntap.service import InterfaceServiceSettings, wireguard, wireguardfile
from txtuntap.service.observe.wireguard import dumpPeers
from txtuntap.service.options.wireguard import WireGuardServiceSettings
from txtuntap.service.wireguard import WireGuardService
from txtuntap.testing import TUN, SettableClock, udpPacket
from txtuntap.wireguard import PrivateKey, WireGuard, keyText
from txtuntap.wireguard.clamp import ClampMSS
from txtuntap.wireguard.configuration import Configuration

PEER = keyText(KEYS[0].public)


class Socket:
    """
    A socket for C{wg} that is no file.
    """

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.isThere = False
        self.path = "wg0.sock"
        self.names: list[str] = []

    def __call__(self, name: str, *ignored: object) -> Socket:
        self.names.append(name)
        return self

    def open(self) -> None:
        if self.error is not None:
            raise self.error
        self.isThere = True

    def close(self) -> None:
        self.isThere = False


class ServiceTestCase(FileTestCase):
    """
    A test case whose second end is a service.

    @ivar device: the device of the service.
    @ivar configured: the settings that the service has given to the interface.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(monitor, "SharedMonitor", NoMonitor)
        self.configured: list[Any] = []
        self.patch(configure, "configureNow", lambda name, settings, device: self.configured.append(settings))
        made = partial(WireGuard, outside=self.outside[1], random=Random(1), secrets=Random(2))
        self.patch(wireguardfile, "WireGuard", made)
        self.device = Device(TUN, "wg0", mtu=1420)

    def service(self, text: str = FILE, clock: Any = None, **settings: Any) -> WireGuardService:
        """
        Make the service of a file.
        """
        interface = InterfaceServiceSettings(device=self.device, control=False, kernelEnd=InterfaceSettings())
        made = WireGuardServiceSettings(
            interface=interface, configuration=Configuration.of(text), **{"uapi": False, **settings}
        )
        return WireGuardService(made, clock or self.network.clock)

    def start(self, service: WireGuardService) -> None:
        """
        Start the network, the first end, and the service.
        """
        self.knows(0, 1, "192.0.2.2:51820")
        self.network.start()
        self.addCleanup(self.network.stop)
        self.links[0].start()
        self.addCleanup(self.links[0].stop)
        service.privilegedStartService()
        self.addCleanup(service.stopService)


class InterfaceTests(ServiceTestCase):
    """
    Tests for packets, counters and settings.
    """

    def test_packetsPassInBothDirections(self) -> None:
        service = self.service()
        self.start(service)
        receiver = Datagrams()
        self.inside[0].listenUDP(7, receiver)
        self.device.deliver(udpPacket("10.0.0.2", "10.0.0.1", 9, 7, b"a packet"))
        self.network.clock.advance(1)
        self.assertEqual(receiver.received, [(b"a packet", ("10.0.0.2", 9))])
        receiver.transport.write(b"an answer", ("10.0.0.2", 9))
        self.network.clock.advance(1)
        (packet,) = self.device.sent
        self.assertEqual(packet[28:], b"an answer")
        self.assertEqual(service.interface(), "wg0")
        counters = service.counters()
        for part in "port", "wireguard":
            self.assertEqual((counters[part]["inPackets"], counters[part]["outPackets"]), (1, 1))
        self.assertEqual(len(self.configured), 1)

    def test_theCountersOfPeersAreScraped(self) -> None:
        service = self.service()
        self.start(service)
        self.device.deliver(udpPacket("10.0.0.2", "10.0.0.1", 9, 7, b"a packet"))
        self.network.clock.advance(1)
        collector = InterfaceCollector()
        collector.add(service.interface, service.counters)
        collector.addPeers(service.interface, service.peerCounters)
        found = scraped(collector)
        peer = service.wireguard.peers[0]
        self.assertEqual(
            found["txtuntap_peer_bytes_total"],
            {("in", "wg0", PEER): peer.received, ("out", "wg0", PEER): peer.sent},
        )
        self.assertGreater(peer.received, 0)
        self.assertEqual(found["txtuntap_peer_latest_handshake_seconds"], {("wg0", PEER): int(peer.lastHandshake)})
        self.assertEqual(found["txtuntap_events_total"]["outInitiations", "wg0", "wireguard"], 1)

    def test_theCountersOfPeersAreLogged(self) -> None:
        service = self.service()
        self.start(service)
        peer = service.wireguard.peers[0]
        peer.received, peer.sent, peer.lastHandshake = 148, 92, 1000.5
        with capturedLogs() as logs:
            service._dump()
        self.assertEqual(
            [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in logs][-1],
            f"wireguard peer: {PEER} at 192.0.2.1:51820: inOctets 148, outOctets 92, latestHandshake 1000",
        )
        self.assertIn("wireguard: ", eventAsText(logs[-2]))
        self.assertNotIn(keyText(KEYS[1].secret()), str(logs))

    def test_theMostSegmentIsClampedIfAsked(self) -> None:
        service = self.service(clampMSS=True)
        assert isinstance(service.port.protocol, ClampMSS)
        self.assertIs(service.counters()["clamp"], service.port.protocol.counters)
        service = self.service()
        self.assertIs(service.port.protocol, service.wireguard)
        self.assertNotIn("clamp", service.counters())

    def test_theFileIsSavedAtTheEnd(self) -> None:
        text = FILE.replace("[Peer]", "SaveConfig = true\n[Peer]")
        path = self.write(text)
        service = self.service(text, path=path)
        self.start(service)
        service.wireguard.allow(KEYS[0].public, "10.5.0.0/16")
        service.stopService()
        (peer,) = Configuration.of(Path(path).read_text()).peers
        self.assertEqual(list(map(str, peer.allowed)), ["10.0.0.0/24", "10.5.0.0/16"])


class SocketTests(ServiceTestCase):
    """
    Tests for the socket by which C{wg} shows the interface.
    """

    def opened(self, socket: Socket, clock: Any = None) -> WireGuardService:
        """
        Open a service with a socket, and start it as far as it needs no signals.
        """
        self.patch(wireguard, "UAPISocket", socket)
        service = self.service(clock=clock, uapi=True)
        self.start(service)
        with patch("txtuntap.service.interface.handleSignals"):
            service.startService()
        return service

    def test_theSocketIsClosedWithTheService(self) -> None:
        socket = Socket()
        service = self.opened(socket)
        self.assertEqual((socket.names, socket.isThere), (["wg0"], True))
        service.stopService()
        self.assertFalse(socket.isThere)

    def test_aSocketThatIsDeletedEndsTheServiceEvenIfTheClockIsSet(self) -> None:
        clock = SettableClock()
        socket = Socket()
        stopped: list[object] = []
        self.patch(wireguard, "stop", stopped.append)
        self.opened(socket, clock)
        clock.advance(10)
        self.assertEqual(stopped, [])
        clock.setBy(-3600)
        socket.isThere = False
        clock.advance(2)
        self.assertEqual(stopped, [clock])

    def test_withoutTheSocketTheServiceGoesOn(self) -> None:
        with capturedLogs() as logs:
            service = self.opened(Socket(OSError("no room")))
        (said,) = (eventAsText(event) for event in logs if "wg(8)" in eventAsText(event))
        self.assertIn("wg(8) cannot show wg0: no room", said)
        self.assertTrue(service.port.connected)


class DumpTests(SynchronousTestCase):
    """
    Tests for the log lines about many peers.
    """

    def test_theNumberOfLinesIsBounded(self) -> None:
        many = WireGuard(KEYS[0], 0, SettableClock(), outside=self)
        random = Random(1)
        for _ in range(1003):
            many.addPeer(PrivateKey.generate(random).public)
        with capturedLogs() as logs:
            dumpPeers(WireGuardService._log, many)
        self.assertEqual(len(logs), 1001)
        self.assertIn("wireguard peers: 3 more", eventAsText(logs[-1]))
