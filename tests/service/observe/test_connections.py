"""
Tests for the list of a host's connections on the control socket: L{txtuntap.service.observe.connections}.
L{tests.real.test_connections} tests that of a running service.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from twisted.internet.interfaces import IPullProducer
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import OffloadPort
from tests.recorders import SuperpacketRecorder
from tests.service.observe.test_control import Transport, send
from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers
from txtuntap.middleware import Capture
from txtuntap.service.observe.connections import AT_ONCE
from txtuntap.service.observe.control import TIMEOUT, ControlFactory, ControlProtocol, ControlSocket
from txtuntap.tcp.record import plain

CONNECTIONS = b'{"connections": {}}\n'


@pytest.mark.unix("UNIX sockets")
class ListTests(SynchronousTestCase):
    """
    Tests for clients that ask for connections.
    """

    def setUp(self) -> None:
        self.peer = RawPeer()
        self.clock = self.peer.clock
        self.factory = Readers()
        self.peer.host.listenTCP(80, self.factory)
        capture = Capture(None, SuperpacketRecorder())
        port = OffloadPort(clock=self.clock)
        port.interface = b"tt0"
        capture.makeConnection(port)
        self.control = ControlSocket(capture, self.clock, self.peer.host)
        self.control.users = {os.geteuid()}
        self.control.namespace = lambda: 4711  # type: ignore[method-assign]

    def connect(self, request: bytes = CONNECTIONS) -> tuple[ControlProtocol, Transport]:
        protocol = ControlFactory(self.control).buildProtocol(None)
        assert protocol is not None
        transport = Transport()
        self.addCleanup(transport.close)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        send(protocol, request)
        return protocol, transport

    def read(self, transport: Transport) -> None:
        """
        Let the transport ask for the next part of the answer.
        """
        self.assertTrue(IPullProducer.providedBy(transport.producer))
        self.assertFalse(transport.streaming)
        producer: Any = transport.producer
        producer.resumeProducing()

    def lines(self, request: bytes = CONNECTIONS) -> list[Any]:
        """
        Return the lines of the complete answer, except for the first.
        """
        protocol, transport = self.connect(request)
        while transport.producer is not None:
            self.read(transport)
        first, *lines = map(json.loads, transport.value().splitlines())
        self.assertEqual(first, {"interface": "tt0", "namespace": 4711})
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost()
        return lines

    def test_eachConnectionIsListed(self) -> None:
        self.peer.open(80)
        self.peer.syn(80, sourcePort=4001)
        *records, end = self.lines()
        self.assertEqual(records, json.loads(json.dumps([plain(each) for each in self.peer.host.connections])))
        self.assertEqual([each["state"] for each in records], ["ESTABLISHED", "SYN-RECEIVED"])
        self.assertEqual(end, {"end": 2})

    def test_listeningPortsAreListedIfRequested(self) -> None:
        self.peer.open(80)
        for settings, states in (
            (b'{"connected": false, "listening": true}', ["LISTEN"]),
            (b'{"listening": true}', ["LISTEN", "ESTABLISHED"]),
            (b'{"connected": false}', []),
        ):
            *records, end = self.lines(b'{"connections": %b}\n' % settings)
            self.assertEqual(([each["state"] for each in records], end), (states, {"end": len(states)}))

    def test_theListMayBeEmpty(self) -> None:
        self.assertEqual(self.lines(), [{"end": 0}])

    def test_aLongListIsWrittenInParts(self) -> None:
        self.peer.host.listenTCP(81, Readers(), backlog=1000)
        for number in range(2 * AT_ONCE):
            self.peer.syn(81, sourcePort=2000 + number)
        protocol, transport = self.connect()
        self.assertEqual(len(transport.value().splitlines()), 1)
        self.read(transport)
        self.assertEqual(len(transport.value().splitlines()), 1 + AT_ONCE)
        # Records are made only once the previous ones have been read, and show the state of that moment.
        self.peer.clock.advance(1)
        self.read(transport)
        _, *records = map(json.loads, transport.value().splitlines())
        self.assertEqual([each["peer"]["port"] for each in records], [2000 + number for number in range(2 * AT_ONCE)])
        self.assertEqual([each["retransmissions"] for each in records], [0] * AT_ONCE + [1] * AT_ONCE)
        self.assertFalse(transport.disconnecting)
        self.read(transport)
        self.assertEqual(transport.value().splitlines()[-1], b'{"end": %d}' % (2 * AT_ONCE))
        self.assertTrue(transport.disconnecting)
        self.assertIsNone(transport.producer)
        protocol.connectionLost()

    def test_aClientThatStopsReadingIsDisconnected(self) -> None:
        self.peer.host.listenTCP(81, Readers(), backlog=1000)
        for number in range(2 * AT_ONCE):
            self.peer.syn(81, sourcePort=2000 + number)
        protocol, transport = self.connect()
        self.clock.advance(TIMEOUT - 1)
        self.read(transport)
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)
        producer: Any = transport.producer
        producer.stopProducing()
        protocol.connectionLost()
        self.assertEqual(self.control.clients, {})

    def test_aClientThatDoesNotReadTheEndIsDisconnected(self) -> None:
        _, transport = self.connect()
        self.read(transport)
        self.clock.advance(TIMEOUT)
        self.assertTrue(transport.aborted)

    def test_aClientThatClosesItsSideIsAnswered(self) -> None:
        protocol, transport = self.connect()
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        self.read(transport)
        self.assertEqual(transport.value().splitlines()[-1], b'{"end": 0}')

    def test_aClientWithASecondRequestIsDisconnected(self) -> None:
        for more in CONNECTIONS, b'{"capture": {}}\n':
            _, transport = self.connect(CONNECTIONS + more)
            self.assertTrue(transport.aborted)

    def test_theListEndsWithTheService(self) -> None:
        protocol, transport = self.connect()
        ended = protocol.end()
        self.assertTrue(transport.disconnecting)
        self.assertIsNone(transport.producer)
        self.assertNotIn(b"end", transport.value())
        protocol.connectionLost()
        self.assertIsNone(self.successResultOf(ended))

    def test_aServiceWithoutAHostRefusesTheRequest(self) -> None:
        self.control.host = None
        _, transport = self.connect()
        (answer,) = map(json.loads, transport.value().splitlines())
        self.assertIn("it has no host", answer["error"])
        self.assertTrue(transport.disconnecting)

    def test_wrongRequestsAreRefused(self) -> None:
        for request, reason in (
            (b'{"connections": 7}', '"connections" has "connected" and "listening"'),
            (b'{"connections": {"snaplen": 7}}', '"connections" has "connected" and "listening"'),
            (b'{"connections": {"listening": 1}}', "listening is True or False, not 1"),
            (b'{"connections": {"connected": "no"}}', "connected is True or False"),
            (b'{"connections": {}, "capture": {}}', "a request is"),
        ):
            protocol, transport = self.connect(request + b"\n")
            (answer,) = map(json.loads, transport.value().splitlines())
            self.assertIn(reason, answer["error"])
            self.assertTrue(transport.disconnecting)
            protocol.connectionLost()

    def test_aRecordHasTheAddressesOfBothEnds(self) -> None:
        self.peer.open(80)
        record, _ = self.lines()
        self.assertEqual(record["host"], {"host": OURS, "port": 80})
        self.assertEqual(record["peer"], {"host": THEIRS, "port": 4000})
