"""
Tests for the list of a WireGuard's peers on the control socket: L{txtuntap.service.observe.wireguard}.
"""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import OffloadPort
from tests.recorders import SuperpacketRecorder
from tests.service.observe.test_control import Transport, send
from txtuntap.middleware import Capture
from txtuntap.service.observe.connections import AT_ONCE
from txtuntap.service.observe.control import ControlFactory, ControlProtocol, ControlSocket
from txtuntap.wireguard import PrivateKey, WireGuard, keyText

REQUEST = b'{"wireguard": {}}\n'

KEY = PrivateKey.generate(Random(0))


@pytest.mark.unix("UNIX sockets")
class ListTests(SynchronousTestCase):
    """
    Tests for clients that ask for the peers.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wireguard = WireGuard(KEY, 51820, self.clock, outside=self, fwmark=7)
        self.capture = Capture(None, SuperpacketRecorder())
        port = OffloadPort(clock=self.clock)
        port.interface = b"wg0"
        self.capture.makeConnection(port)

    def connect(self, request: bytes, wireguard: WireGuard | None) -> tuple[ControlProtocol, Transport]:
        """
        Send a request to the socket of a service.
        """
        control = ControlSocket(self.capture, self.clock, None, wireguard)
        control.users = {os.geteuid()}
        control.namespace = lambda: 4711  # type: ignore[method-assign]
        protocol = ControlFactory(control).buildProtocol(None)
        assert protocol is not None
        transport = Transport()
        self.addCleanup(transport.close)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        self.addCleanup(protocol.connectionLost)
        send(protocol, request)
        return protocol, transport

    def answer(self, request: bytes = REQUEST, wireguard: WireGuard | None = None) -> list[Any]:
        """
        Return the lines of the complete answer.
        """
        _, transport = self.connect(request, wireguard)
        while transport.producer is not None:
            producer: Any = transport.producer
            producer.resumeProducing()
        return list(map(json.loads, transport.value().splitlines()))

    def test_theInterfaceComesBeforeItsPeers(self) -> None:
        secret = bytes(range(32))
        first, second = (PrivateKey.generate(Random(number)).public for number in (1, 2))
        self.wireguard.addPeer(first, ["10.0.0.0/24", "fd00::/64"], "192.0.2.1:7", 25, secret)
        self.wireguard.addPeer(second)
        peer = self.wireguard.peer(first)
        peer.received, peer.sent, peer.lastHandshake = 148, 92, 1000.5
        head, interface, *peers, end = self.answer(wireguard=self.wireguard)
        self.assertEqual(head, {"interface": "wg0", "namespace": 4711})
        self.assertEqual(interface, {"publicKey": keyText(KEY.public), "listenPort": 51820, "fwmark": 7})
        self.assertEqual(
            peers[0],
            {
                "publicKey": keyText(first),
                "hasPresharedKey": True,
                "endpoint": "192.0.2.1:7",
                "allowed": ["10.0.0.0/24", "fd00::/64"],
                "latestHandshake": 1000.5,
                "received": 148,
                "sent": 92,
                "keepalive": 25,
            },
        )
        self.assertEqual((peers[1]["hasPresharedKey"], peers[1]["endpoint"], peers[1]["allowed"]), (False, None, []))
        self.assertEqual(end, {"end": 3})

    def test_noSecretIsShown(self) -> None:
        secret = bytes(range(32))
        self.wireguard.addPeer(PrivateKey.generate(Random(1)).public, presharedKey=secret)
        said = str(self.answer(wireguard=self.wireguard))
        for hidden in KEY.secret(), secret:
            self.assertNotIn(keyText(hidden), said)
            self.assertNotIn(hidden.hex(), said)

    def test_withoutAKeyThereIsNoPublicKey(self) -> None:
        _, interface, _ = self.answer(wireguard=WireGuard(None, 0, self.clock, outside=self))
        self.assertEqual(interface, {"publicKey": None, "listenPort": 0, "fwmark": 0})

    def test_manyPeersAreListedInParts(self) -> None:
        random = Random(3)
        for _ in range(AT_ONCE):
            self.wireguard.addPeer(PrivateKey.generate(random).public)
        _, transport = self.connect(REQUEST, self.wireguard)
        producer: Any = transport.producer
        producer.resumeProducing()
        self.assertEqual(len(transport.value().splitlines()), 1 + AT_ONCE)
        producer.resumeProducing()
        self.assertEqual(transport.value().splitlines()[-1], b'{"end": %d}' % (1 + AT_ONCE))

    def test_aServiceWithoutWireGuardRefuses(self) -> None:
        (answer,) = self.answer()
        self.assertIn("it has no WireGuard", answer["error"])

    def test_aRequestWithSettingsIsRefused(self) -> None:
        (answer,) = self.answer(b'{"wireguard": {"peer": 1}}\n', self.wireguard)
        self.assertEqual(answer["error"], '"wireguard" has no settings, and nothing else')
