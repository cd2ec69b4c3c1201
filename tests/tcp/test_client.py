"""
Tests for the module L{txtuntap.tcp.client}.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    NotConnectingError,
    ServiceNameUnknownError,
    TCPTimedOutError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import IConnector
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap.network.link import LinkEnd
from txtuntap.tcp.client import errorOf
from txtuntap.wire import tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.icmp import Quote

from .hosts import Client, HostsTestCase, Server


class ConnectingTests(HostsTestCase):
    def attemptError(self, host: Any, port: Any = 80, seconds: float = 1.0, **options: Any) -> Any:
        """
        Connect, and return the error with which the attempt fails. C{connectTCP} itself does not raise.
        """
        clients = Client()
        self.near.connectTCP(host, port, clients, **options)
        self.assertEqual(clients.failed, [])
        self.wait(seconds)
        (error,) = clients.failed
        self.assertEqual((clients.made, list(self.near.tcp.transports)), ([], []))
        return error

    def test_theConnectorProvidesItsInterface(self) -> None:
        connector: Any = self.near.connectTCP("10.0.0.2", 80, Client())
        self.assertTrue(verifyObject(IConnector, connector))
        self.assertEqual((connector.getDestination().host, connector.getDestination().port), ("10.0.0.2", 80))

    def test_aResetRefusesTheConnection(self) -> None:
        for host in "10.0.0.2", "fd00::2", "127.0.0.1", "::1", "10.0.0.1":
            error = self.attemptError(host)
            self.assertIsInstance(error, ConnectionRefusedError)
            self.assertEqual(error.osError, errno.ECONNREFUSED)

    def test_withoutARouteTheAttemptFails(self) -> None:
        error = self.attemptError("192.0.2.1")
        self.assertIsInstance(error, NoRouteError)
        self.assertEqual(error.osError, errno.ENETUNREACH)

    def test_multicastAndBroadcastAddressesAreRefused(self) -> None:
        """
        No SYN is sent to a multicast or broadcast address, because TCP connects two hosts.
        """
        packets: list[int] = []
        self.patch(LinkEnd, "writePacket", lambda *arguments: packets.append(1))
        for host in "224.0.0.1", "255.255.255.255", "10.0.0.255", "ff02::1":
            error = self.attemptError(host)
            self.assertIsInstance(error, NoRouteError)
            self.assertIn(f"{host} is a multicast or broadcast address", str(error))
        self.assertEqual(packets, [])

    def test_theAttemptEndsAtItsTimeout(self) -> None:
        self.near.neighbours.add("10.0.0.3", b"\2\0\0\0\0\3")
        self.assertIsInstance(self.attemptError("10.0.0.3", seconds=6, timeout=5), TimeoutError)

    def test_withoutANeighbourTheAttemptFails(self) -> None:
        self.near.addRoute("192.0.2.0/24", "10.0.0.9")
        for host in "10.0.0.3", "fd00::3", "192.0.2.1":
            for timeout in 30, None:
                error = self.attemptError(host, seconds=4, timeout=timeout)
                self.assertEqual((type(error), error.osError), (ConnectError, errno.EHOSTUNREACH))

    def test_aNeighbourThatAnswersLateIsConnected(self) -> None:
        self.far.removeAddress("10.0.0.2")
        servers, clients = Server(), Client()
        self.far.listenTCP(80, servers)
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait(1.5)
        self.far.addAddress("10.0.0.2/24")
        self.wait(5)
        self.assertEqual((len(clients.made), clients.failed), (1, []))

    def test_aNeighbourThatDisappearsKeepsTheConnection(self) -> None:
        self.connect()
        self.near.neighbours.remove("10.0.0.2")
        self.far.removeAddress("10.0.0.2")
        self.client.transport.write(b"anybody?")
        self.wait(10)
        self.assertIsNone(self.client.lost)
        self.far.addAddress("10.0.0.2/24")
        self.wait(60)
        self.assertEqual((self.server.data, self.client.lost), (b"anybody?", None))

    def test_aStoppedLinkFailsTheAttempt(self) -> None:
        self.net.links[0].stop()
        error = self.attemptError("10.0.0.2")
        self.assertEqual((type(error), error.osError), (ConnectError, errno.ENETDOWN))

    def test_withoutATimeoutTheSYNsRunOut(self) -> None:
        self.start(None)
        self.near.neighbours.add("10.0.0.3", b"\2\0\0\0\0\3")
        error = self.attemptError("10.0.0.3", seconds=300, timeout=None)
        self.assertIsInstance(error, TCPTimedOutError)
        self.assertEqual(error.osError, errno.ETIMEDOUT)

    def test_stoppingTheHostFailsTheAttempt(self) -> None:
        self.near.neighbours.add("10.0.0.3", b"\2\0\0\0\0\3")
        clients = Client()
        self.near.connectTCP("10.0.0.3", 80, clients)
        self.wait()
        self.net.stop()
        self.assertEqual(len(clients.failed), 1)
        self.assertEqual(clients.lost, [])

    def test_wrongSourceAddressesAreRefused(self) -> None:
        """
        An address that cannot be the source ends the attempt before a SYN is sent.
        """
        for address, number in (
            ("10.0.0.9", errno.EADDRNOTAVAIL),
            ("127.0.0.1", errno.EADDRNOTAVAIL),
            ("fd00::1", errno.EAFNOSUPPORT),
            ("::", errno.EAFNOSUPPORT),
        ):
            error = self.attemptError("10.0.0.2", bindAddress=(address, 4000))
            self.assertEqual((type(error), error.osError), (ConnectBindError, number))
        self.assertEqual(self.near.tcp.counters.get("outSegs", 0), 0)
        self.assertIsInstance(self.attemptError("10.0.0.2", bindAddress=("0.0.0.0", 4000)), ConnectionRefusedError)
        self.assertIsInstance(self.attemptError("127.0.0.1", bindAddress="127.0.0.1"), ConnectionRefusedError)

    def test_wrongPortsAreRefused(self) -> None:
        for port in -1, 65536, 80.5, None, True:
            self.assertIsInstance(self.attemptError("10.0.0.2", port), ConnectError)

    def test_aPortMayBeAServiceName(self) -> None:
        servers, clients = Server(), Client()
        self.far.listenTCP(80, servers)
        self.near.connectTCP("10.0.0.2", "http", clients)
        self.wait()
        self.assertEqual(len(clients.made), 1)
        self.assertRaises(ServiceNameUnknownError, self.near.connectTCP, "10.0.0.2", "nosuchservice", clients)

    def test_anUnknownNameFails(self) -> None:
        error = self.attemptError("www.example.com")
        self.assertIsInstance(error, DNSLookupError)
        self.assertIn("Host(hosts=", str(error))

    def test_aResolverThatReturnsNoAddressFails(self) -> None:
        """
        If a resolver returns anything but an address as text, the attempt fails at once.
        """
        for found in b"10.0.0.2", None, 5:
            clients = Client()
            self.near.tcp.connect("far", 80, clients, resolve=lambda name: found)  # noqa: B023
            self.wait(0)
            (error,) = clients.failed
            self.assertIsInstance(error, DNSLookupError)
            self.assertIn(repr(found), str(error))

    def test_factoriesThatRaiseAreLogged(self) -> None:
        """
        A factory that raises in C{clientConnectionFailed} or C{clientConnectionLost} is logged. Other factories are
        still called, and the layer still stops.
        """

        class Raising(Client):
            def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
                super().clientConnectionFailed(connector, reason)
                raise ZeroDivisionError

            def clientConnectionLost(self, connector: Any, reason: Any) -> None:
                super().clientConnectionLost(connector, reason)
                raise ZeroDivisionError

        self.far.listenTCP(80, Server())
        connected = [Raising(), Raising()]
        for each in connected:
            self.near.connectTCP("10.0.0.2", 80, each)
        refused = Raising()
        self.near.connectTCP("10.0.0.2", 81, refused)
        self.wait()
        connecting = Raising()
        self.near.connectTCP("10.0.0.3", 80, connecting)
        self.wait(0)
        self.net.stop()
        for each in connected:
            self.assertIsInstance(each.lost[0], ConnectionLost)
        for each in refused, connecting:
            self.assertEqual(len(each.failed), 1)
        self.assertEqual(list(self.near.tcp.transports), [])
        self.assertIsNone(self.near.tcp.transport)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)

    def test_stopConnectingEndsTheAttempt(self) -> None:
        self.far.listenTCP(80, Server())
        clients = Client()
        connector = self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait(0.001)
        connector.stopConnecting()
        self.assertIsInstance(clients.failed[0], UserError)
        self.assertRaises(NotConnectingError, connector.stopConnecting)
        self.wait()
        self.assertEqual(clients.made, [])
        self.assertEqual(list(self.far.tcp.transports), [])

    def test_aFailedConnectorConnectsAgain(self) -> None:
        class Twice(Client):
            def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
                super().clientConnectionFailed(connector, reason)
                if len(self.failed) == 1:
                    connector.connect()

        clients = Twice()
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait()
        self.assertEqual([type(each) for each in clients.failed], [ConnectionRefusedError] * 2)

    def test_withoutAProtocolTheConnectionIsClosed(self) -> None:
        servers, clients = Server(), Client()
        clients.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.far.listenTCP(80, servers)
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait()
        self.assertIsInstance(servers.made[0].lost, ConnectionDone)
        self.assertIsInstance(clients.lost[0], ConnectionDone)


class ErrorOfIPv6Tests(SynchronousTestCase):
    """
    Tests for ICMPv6 errors about a SYN. L{tests.tcp.test_layer} has the errors of ICMP for IPv4.
    """

    def errorOf(self, kind: int, code: int) -> Any:
        ends = packAddress("fd00::1"), packAddress("fd00::2")
        return errorOf(Quote(*ends, tcp.PROTOCOL, bytes(20), 60, False, kind, code))

    def test_unreachableErrorsEndTheAttempt(self) -> None:
        for kind, code, expected, number in (
            (1, 0, NoRouteError, errno.ENETUNREACH),
            (1, 1, ConnectError, errno.EACCES),
            (1, 3, ConnectError, errno.EHOSTUNREACH),
            (1, 2, ConnectError, errno.EHOSTUNREACH),
            (1, 4, ConnectionRefusedError, errno.ECONNREFUSED),
            (1, 5, ConnectError, errno.EACCES),
            (1, 7, ConnectError, errno.EPROTO),
            (3, 0, ConnectError, errno.EHOSTUNREACH),
            (4, 1, ConnectError, errno.EPROTO),
        ):
            error = self.errorOf(kind, code)
            self.assertEqual((type(error), error.osError), (expected, number), (kind, code))

    def test_packetTooBigDoesNotEndTheAttempt(self) -> None:
        self.assertIsNone(self.errorOf(2, 0))


class BindingTests(HostsTestCase):
    def test_theGivenAddressAndPortAreUsed(self) -> None:
        servers = Server()
        self.far.listenTCP(80, servers)
        self.near.connectTCP("10.0.0.2", 80, Client(), bindAddress=("10.0.0.1", 4000))
        self.wait()
        self.assertEqual((servers.addresses[0].host, servers.addresses[0].port), ("10.0.0.1", 4000))

    def test_aPortInUseIsRefused(self) -> None:
        self.far.listenTCP(80, Server())
        clients = [Client(), Client()]
        for each in clients:
            self.near.connectTCP("10.0.0.2", 80, each, bindAddress=("10.0.0.1", 4000))
        self.wait()
        self.assertEqual(len(clients[0].made), 1)
        self.assertIsInstance(clients[1].failed[0], ConnectBindError)

    def test_thePortIsFreeAfterAFailedAttempt(self) -> None:
        for _ in range(2):
            clients = Client()
            self.near.connectTCP("10.0.0.2", 80, clients, bindAddress=("10.0.0.1", 4000))
            self.wait()
            self.assertIsInstance(clients.failed[0], ConnectionRefusedError)

    def test_theScopeIsKept(self) -> None:
        (local,) = [each.partition("/")[0] for each in self.far.addresses if each.startswith("fe80:")]
        servers, clients = Server(), Client()
        self.far.listenTCP(80, servers, interface=f"{local}%eth0")
        self.near.connectTCP(f"{local}%tap7", 80, clients)
        self.wait()
        self.assertEqual(clients.made[0].transport.getPeer().host, f"{local}%tap7")
        self.assertTrue(clients.made[0].transport.getHost().host.endswith("%tap7"))
        self.assertEqual(servers.made[0].transport.getHost().host, f"{local}%eth0")
