"""
Tests for L{txtuntap.tcp.transport}: writing, closing and exceptions.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IFileDescriptor,
    ILoggingContext,
    IPushProducer,
    IReadDescriptor,
    ITCPTransport,
    ITLSTransport,
)
from twisted.python import context, log
from zope.interface.verify import verifyObject

from tests.tcp.producing import Producer
from txtuntap.tcp.handshake import KEEPALIVE_IDLE, KEEPALIVE_PAUSE, KEEPALIVE_PROBES

from .hosts import Client, HalfTalker, HostsTestCase, Server, Talker


class InterfaceTests(HostsTestCase):
    def test_transportsProvideTheirInterfaces(self) -> None:
        self.connect()
        for protocol in self.server, self.client:
            for interface in ITCPTransport, ITLSTransport, IConsumer, IPushProducer, ILoggingContext:
                self.assertTrue(verifyObject(interface, protocol.transport))

    def test_aTransportIsNoDescriptor(self) -> None:
        self.connect()
        for interface in IFileDescriptor, IReadDescriptor:
            self.assertFalse(interface.providedBy(self.client.transport))

    def test_getHostAndGetPeerAgree(self) -> None:
        for dest, source in ("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1"):
            self.connect(dest=dest)
            here, there = self.client.transport, self.server.transport
            self.assertEqual((here.getPeer().host, here.getPeer().port), (dest, 80))
            self.assertEqual((here.getHost(), here.getPeer()), (there.getPeer(), there.getHost()))
            self.assertEqual(here.getHost().host, source)
            self.assertEqual(self.servers.addresses, [here.getHost()])
            self.port.stopListening()
            self.wait()

    def test_optionsAreBooleans(self) -> None:
        self.connect()
        transport = self.client.transport
        for get, put in (
            (transport.getTcpNoDelay, transport.setTcpNoDelay),
            (transport.getTcpKeepAlive, transport.setTcpKeepAlive),
        ):
            self.assertIs(get(), False)
            put(1)
            self.assertIs(get(), True)
            put(False)
            self.assertIs(get(), False)

    def test_transportsAreNamed(self) -> None:
        self.connect()
        number = self.server.transport.sessionno
        self.assertEqual(self.server.transport.logPrefix(), f"Talker,{number},10.0.0.1")
        self.assertEqual(self.client.transport.logPrefix(), "Talker,client")
        self.assertEqual(repr(self.server.transport), f"<Talker #{number} on 80>")

    def test_callsAreLoggedUnderThePrefix(self) -> None:
        prefixes: list[Any] = []

        class Logger(Talker):
            def onEvent(self, event: Any) -> None:
                prefixes.append(context.get(log.ILogContext)["system"])

        self.connect(server=Logger)
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.wait()
        self.assertEqual(prefixes, [self.server.transport.logstr] * 3)


class WritingTests(HostsTestCase):
    def test_textIsRefused(self) -> None:
        self.connect()
        for call in self.client.transport.write, lambda text: self.client.transport.writeSequence([b"a", text]):
            with self.assertRaises(TypeError) as raised:
                call("text")
            self.assertIn("'text'.encode()", str(raised.exception))
        self.wait()
        self.assertEqual(self.server.data, b"")

    def test_bytearrayIsCopied(self) -> None:
        self.connect()
        data = bytearray(b"before")
        self.client.transport.write(data)
        data[:] = b"after!"
        self.wait()
        self.assertEqual(self.server.data, b"before")

    def test_sequenceIsWrittenInOrder(self) -> None:
        self.connect()
        self.client.transport.write(b"a")
        self.client.transport.writeSequence([b"b", b"", b"c"])
        self.client.transport.write(b"d")
        self.wait()
        self.assertEqual(self.server.data, b"abcd")

    def test_muchDataArrivesWhole(self) -> None:
        self.connect()
        data = bytes(range(256)) * 4096
        self.client.transport.write(data)
        self.wait(30)
        self.assertEqual(self.server.data, data)

    def test_nothingIsDeliveredWhilePaused(self) -> None:
        self.connect()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"x" * 500_000)
        self.wait(20)
        self.assertEqual(self.server.data, b"")
        self.assertGreater(self.client.transport.waiting, 0)
        self.server.transport.resumeProducing()
        self.wait(20)
        self.assertEqual(len(self.server.data), 500_000)

    def test_aProtocolMayPauseInItsCall(self) -> None:
        class Pausing(Talker):
            def onEvent(self, event: Any) -> None:
                self.transport.pauseProducing()

        self.connect(server=Pausing)
        self.server.transport.resumeProducing()
        for _ in range(2):
            self.client.transport.write(b"x")
            self.wait()
        self.assertEqual(self.server.events, ["made", b"x"])


class ClosingTests(HostsTestCase):
    def test_writtenDataArrivesBeforeTheEnd(self) -> None:
        self.connect()
        self.client.transport.write(b"x" * 100_000)
        self.client.transport.loseConnection()
        self.wait(10)
        self.assertEqual(len(self.server.data), 100_000)
        for protocol in self.server, self.client:
            self.assertIsInstance(protocol.lost, ConnectionDone)
        self.assertEqual([type(each) for each in self.clients.lost], [ConnectionDone])

    def test_loseConnectionStopsReading(self) -> None:
        self.connect()
        self.client.transport.loseConnection()
        self.server.transport.write(b"late")
        self.wait()
        self.assertEqual(self.client.data, b"")

    def test_connectionLostDoesNotWaitForTheAcknowledgment(self) -> None:
        self.start("delay 100ms")
        self.connect()
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.wait(0.01)
        self.assertIsInstance(self.client.lost, ConnectionDone)
        self.assertIsNone(self.server.lost)
        self.wait(5)
        self.assertEqual(self.server.data, b"x")

    def test_aClosedTransportIgnoresCalls(self) -> None:
        self.connect()
        transport = self.client.transport
        transport.loseConnection()
        self.wait()
        transport.write(b"x")
        transport.writeSequence([b"x"])
        transport.loseConnection()
        transport.loseWriteConnection()
        transport.abortConnection()
        self.wait()
        self.assertEqual((self.server.data, len(self.client.events)), (b"", 2))

    def test_eachHalfClosesAlone(self) -> None:
        self.connect(server=HalfTalker, client=HalfTalker)
        self.client.transport.write(b"question")
        self.client.transport.loseWriteConnection()
        self.wait()
        self.assertEqual(self.server.events, ["made", b"question", "read lost"])
        self.assertEqual(self.client.events, ["made", "write lost"])
        self.client.transport.write(b"lost")
        self.server.transport.write(b"answer")
        self.server.transport.loseConnection()
        self.wait()
        self.assertEqual(self.client.events[2:4], [b"answer", "read lost"])
        self.assertEqual(self.server.data, b"question")
        self.assertIsInstance(self.server.lost, ConnectionDone)

    def test_withoutHalfCloseAFINEndsTheConnection(self) -> None:
        self.connect()
        self.client.transport.loseWriteConnection()
        self.wait()
        self.assertIsInstance(self.server.lost, ConnectionDone)
        self.assertIsInstance(self.client.lost, ConnectionDone)

    def test_abortResetsThePeer(self) -> None:
        self.connect()
        self.client.transport.write(b"x" * 100)
        self.client.transport.abortConnection()
        self.client.transport.abortConnection()
        self.client.transport.loseConnection()
        self.assertIsNone(self.client.lost)
        self.wait()
        self.assertIsInstance(self.client.lost, ConnectionAborted)
        self.assertIs(type(self.server.lost), ConnectionLost)
        self.assertEqual((self.server.data, list(self.near.tcp.transports)), (b"", []))

    def test_connectionAbortedIsConnectionLost(self) -> None:
        self.assertTrue(issubclass(ConnectionAborted, ConnectionLost))

    def test_anAbortDropsTheDataOfItsTurn(self) -> None:
        """
        Data that was written in the same call as C{abortConnection} is not sent. This holds for the first call of a
        protocol, and for a call of its producer, which is not resumed again.
        """

        class Aborting(Talker):
            def onEvent(self, event: Any) -> None:
                if event == "made":
                    self.transport.write(b"hello")
                    self.transport.abortConnection()

        for side in "server", "client":
            self.start()
            self.connect(*((Aborting, Talker) if side == "server" else (Talker, Aborting)))
            self.assertEqual((self.server.data, self.client.data), (b"", b""))
            self.assertIsInstance(getattr(self, side).lost, ConnectionAborted)
        self.start()
        self.connect()
        producer = Producer()

        def write() -> None:
            self.client.transport.write(b"x")
            if len(producer.events) == 3:
                self.client.transport.abortConnection()

        producer.then = write
        self.client.transport.registerProducer(producer, False)
        self.wait()
        self.assertEqual(producer.events, ["resume"] * 3 + ["stop"])
        self.assertIsInstance(self.client.lost, ConnectionAborted)

    def test_aProtocolMayCloseInItsFirstCall(self) -> None:
        class Closing(Talker):
            def onEvent(self, event: Any) -> None:
                if event == "made":
                    self.transport.write(b"hello")
                    self.transport.loseConnection()

        self.connect(server=Closing)
        self.assertEqual(self.client.data, b"hello")
        self.assertIsInstance(self.server.lost, ConnectionDone)

    def test_anUnansweredKeepaliveEndsTheConnection(self) -> None:
        self.connect()
        self.client.transport.setTcpKeepAlive(True)
        # The first probe is answered.
        self.wait(KEEPALIVE_IDLE + 10)
        self.far.removeAddress("10.0.0.2")
        self.wait(KEEPALIVE_IDLE)
        self.assertIsNone(self.client.lost)
        self.wait(KEEPALIVE_PROBES * KEEPALIVE_PAUSE)
        self.assertIs(type(self.client.lost), ConnectionLost)

    def test_unacknowledgedDataEndsTheConnection(self) -> None:
        self.connect()
        self.far.removeAddress("10.0.0.2")
        self.client.transport.write(b"x")
        self.wait(600)
        self.assertIsNone(self.client.lost)
        self.wait(1400)
        self.assertIs(type(self.client.lost), ConnectionLost)

    def test_aStoppedLinkEndsConnections(self) -> None:
        self.connect()
        self.net.links[0].stop()
        self.assertIs(type(self.client.lost), ConnectionLost)
        self.assertIs(type(self.server.lost), ConnectionLost)

    def test_aProtocolMayStopItsLink(self) -> None:
        """
        A protocol that stops its own link loses the connection after its call has returned, as L{Talker} asserts.
        """
        for side in "server", "client":
            for at in "made", b"x", "read lost":

                class Stopping(HalfTalker):
                    def onEvent(inner, event: Any) -> None:
                        if event == at:  # noqa: B023
                            self.net.links[0].stop()

                self.start()
                kinds = (Stopping, Talker) if side == "server" else (Talker, Stopping)
                servers, clients = Server(kinds[0]), Client(kinds[1])
                self.far.listenTCP(80, servers)
                self.near.connectTCP("10.0.0.2", 80, clients)
                self.wait()
                if at != "made":
                    other = (clients if side == "server" else servers).made[0]
                    other.transport.write(b"x")
                    other.transport.loseWriteConnection()
                    self.wait()
                for protocol in servers.made + clients.made:
                    self.assertIs(type(protocol.lost), ConnectionLost, (side, at))
                self.assertEqual([*self.near.tcp.transports, *self.far.tcp.transports], [])


class ExceptionTests(HostsTestCase):
    """
    Tests for exceptions of a protocol. They end its connection, are logged, and are the reason of C{connectionLost}.
    """

    def check(self, at: Any) -> None:
        class Raising(HalfTalker):
            def onEvent(self, event: Any) -> None:
                if event == at:
                    raise ZeroDivisionError(str(event))

        self.connect(server=Raising)
        self.client.transport.write(b"x")
        self.client.transport.loseWriteConnection()
        self.wait()
        self.assertIsInstance(self.server.lost, ZeroDivisionError)
        self.assertIsInstance(self.client.lost, (ConnectionDone, ConnectionLost))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(list(self.far.tcp.transports), [])

    def test_connectionMade(self) -> None:
        self.check("made")

    def test_dataReceived(self) -> None:
        self.check(b"x")

    def test_readConnectionLost(self) -> None:
        self.check("read lost")

    def test_resumeProducing(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        self.connect()
        producer = Producer()
        self.client.transport.registerProducer(producer, False)
        producer.then = fail
        self.client.transport.write(b"x")
        self.wait()
        self.assertIsInstance(self.client.lost, ZeroDivisionError)
        self.assertEqual(producer.events[-1], "stop")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
