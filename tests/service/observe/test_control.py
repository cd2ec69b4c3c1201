"""
Tests for the control socket: L{txtuntap.service.observe.control}. L{tests.real.test_control} tests the socket of a
running service.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import OffloadPort
from tests.recorders import SuperpacketRecorder
from txtuntap.middleware import Capture
from txtuntap.packet import Packet
from txtuntap.service.observe.control import (
    MAX_CLIENTS,
    MAX_WAITING,
    TIMEOUT,
    ControlFactory,
    ControlProtocol,
    ControlSocket,
)
from txtuntap.wire.capturefile import CapturedPacket, CaptureParser

CAPTURE = b'{"capture": {}}\n'


class Transport(StringTransport):
    """
    A fake transport over a pair of sockets in this process.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.socket, self.other = socket.socketpair()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.socket.close()
        self.other.close()


def send(protocol: ControlProtocol, data: bytes) -> None:
    protocol.dataReceived(data)  # type: ignore[no-untyped-call]


@pytest.mark.unix("UNIX sockets")
class ControlTests(SynchronousTestCase):
    """
    Tests for clients of a control socket.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.capture = Capture(None, SuperpacketRecorder())
        self.below = OffloadPort(clock=self.clock)
        self.below.interface = b"tt0"
        self.capture.makeConnection(self.below)
        self.control = ControlSocket(self.capture, self.clock)
        self.control.users = {os.geteuid()}
        self.control.namespace = lambda: 4711  # type: ignore[method-assign]
        self.factory = ControlFactory(self.control)

    def connect(self) -> tuple[ControlProtocol, Transport]:
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        transport = Transport()
        self.addCleanup(transport.close)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        return protocol, transport

    def answer(self, transport: Transport) -> tuple[Any, bytes]:
        line, _, rest = transport.value().partition(b"\n")
        return json.loads(line), rest

    def packets(self, transport: Transport) -> list[CapturedPacket]:
        return CaptureParser().feed(self.answer(transport)[1])

    def test_aCaptureHasTheRequestedPackets(self) -> None:
        protocol, transport = self.connect()
        send(protocol, b'{"capture": {"snaplen": 3, "directions": 1}}\n')
        self.capture.packetReceived(Packet(b"comes"))
        self.capture.writePacket([b"goes"])
        self.assertEqual(self.answer(transport)[0], {"interface": "tt0", "namespace": 4711})
        self.assertEqual([each.data for each in self.packets(transport)], [b"com"])

    def test_aFileDescriptorEndsTheConnection(self) -> None:
        protocol, transport = self.connect()
        self.assertTrue(IFileDescriptorReceiver.providedBy(protocol))
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        protocol.fileDescriptorReceived(reading)
        self.assertRaises(OSError, os.fstat, reading)
        self.assertTrue(transport.aborted)

    def test_theAnswerHasTheCurrentName(self) -> None:
        self.below.interface = b"tt1"
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        self.assertEqual(self.answer(transport)[0]["interface"], "tt1")

    def test_aClientThatClosesItsSideReceivesTheStatistics(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        self.capture.packetReceived(Packet(b"comes"))
        protocol.readConnectionLost()
        parser = CaptureParser()
        parser.feed(self.answer(transport)[1])
        self.assertEqual((parser.statistics[0].received, parser.statistics[0].dropped), (1, 0))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(list(self.capture.sinks), [])
        # A client that does not read the rest is disconnected.
        self.clock.advance(TIMEOUT)
        self.assertTrue(transport.aborted)

    def test_aClientThatClosesItsSideWithoutARequestIsDisconnected(self) -> None:
        protocol, transport = self.connect()
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_aDisconnectedClientIsForgotten(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        before = transport.value()
        protocol.connectionLost()
        self.capture.packetReceived(Packet(b"comes"))
        self.assertEqual((list(self.capture.sinks), self.control.clients), ([], {}))
        self.assertEqual(transport.value(), before)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_packetsThatASlowClientDoesNotReadAreCounted(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        sink: Any = transport.producer
        sink.pauseProducing()
        before = len(transport.value())
        count = 2 * MAX_WAITING // 60_000
        for _ in range(count):
            self.capture.packetReceived(Packet(bytes(60_000)))
        self.assertEqual(len(transport.value()), before)
        lost = self.capture.counters["captureDrops"]
        self.assertTrue(count // 3 < lost < count)
        state = self.capture.tables()[-1]
        self.assertEqual((state.name, state.bound), ("capture octets of a client", MAX_WAITING))
        self.assertTrue(MAX_WAITING - 61_000 < state.size <= MAX_WAITING)
        sink.resumeProducing()
        self.capture.packetReceived(Packet(b"after"))
        found = self.packets(transport)
        self.assertEqual(len(found), count - lost + 1)
        self.assertEqual((found[-1].data, found[-1].dropped), (b"after", lost))

    def test_aClientWhoseCaptureFailsIsDisconnected(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        sink: Any = transport.producer
        sink.write = lambda octets: 1 // 0
        self.capture.packetReceived(Packet(b"comes"))
        self.assertTrue(transport.aborted)
        self.assertEqual(list(self.capture.sinks), [])

    def test_aClientWithoutARequestIsDisconnected(self) -> None:
        _, transport = self.connect()
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_aCapturingClientIsNotDisconnected(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        self.clock.advance(1000)
        self.assertFalse(transport.aborted)

    def test_aClientWithASecondRequestIsDisconnected(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE + CAPTURE)
        self.assertTrue(transport.aborted)

    def test_aClientWithAnEndlessLineIsDisconnected(self) -> None:
        protocol, transport = self.connect()
        for _ in range(100):
            send(protocol, bytes(1000))
            if transport.aborted:
                break
        self.assertTrue(transport.aborted)

    def test_wrongRequestsAreRefused(self) -> None:
        for request in (
            *(b"", b"capture", b"[]", b"{}", b"7", b"\xff", b"[" * 3000, b'{"capture": 7}', b'{"other": {}}'),
            *(b'{"capture": {"snaplen": -1}}', b'{"capture": {"snaplen": "all"}}', b'{"capture": {"file": "/etc"}}'),
            *(b'{"capture": {"directions": [1]}}', b'{"capture": {"directions": 1.0}}'),
        ):
            protocol, transport = self.connect()
            send(protocol, request + b"\n")
            answer, rest = self.answer(transport)
            self.assertEqual((list(answer), rest), (["error"], b""), request)
            self.assertTrue(transport.disconnecting)
            protocol.connectionLost()

    @given(st.lists(st.binary(max_size=50), max_size=5))
    def test_garbageRaisesNothing(self, garbage: list[bytes]) -> None:
        protocol, _ = self.connect()
        for data in garbage:
            send(protocol, data)
        protocol.connectionLost()

    def test_theNumberOfClientsIsBounded(self) -> None:
        clients = [self.connect()[0] for _ in range(MAX_CLIENTS)]
        self.assertIsNone(self.factory.buildProtocol(None))
        self.assertEqual([(state.size, state.bound) for state in self.control.tables()], [(MAX_CLIENTS, MAX_CLIENTS)])
        clients[0].connectionLost()
        self.connect()

    def test_anotherUserIsRefused(self) -> None:
        self.control.users = {os.geteuid() + 1}
        self.patch(os, "geteuid", lambda: 4711)
        protocol, transport = self.connect()
        self.assertIn("another user's", self.answer(transport)[0]["error"])
        self.assertTrue(transport.disconnecting)
        send(protocol, CAPTURE)
        self.assertEqual(list(self.capture.sinks), [])

    def test_aRequestIsRefusedIfTheInterfaceIsNotOpen(self) -> None:
        self.capture.doStop()
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        self.assertIn("not open", self.answer(transport)[0]["error"])

    def test_theCaptureEndsWithTheService(self) -> None:
        protocol, transport = self.connect()
        send(protocol, CAPTURE)
        self.capture.packetReceived(Packet(b"comes"))
        self.capture.doStop()
        self.assertTrue(transport.disconnecting)
        parser = CaptureParser()
        parser.feed(self.answer(transport)[1])
        self.assertEqual(parser.statistics[0].received, 1)
        ended = protocol.end()
        self.assertNoResult(ended)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)
        protocol.connectionLost()
        self.assertIsNone(self.successResultOf(ended))
