"""
Tests for C{tuntap:} endpoints in use: the host that they share, and when it is open.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.application import strports
from twisted.internet.error import (
    CannotListenError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from zope.interface.verify import verifyObject

from tests.service.sharedhosts import FAR, NEAR, EndpointsTestCase
from tests.tcp.hosts import Server, Talker
from txtuntap.device import configure

REFUSAL = OSError(errno.EPERM, "opening tun1 is not permitted: run as root")


class Sender(Talker):
    """
    A protocol that writes many octets and closes the connection.
    """

    MUCH = bytes(range(256)) * 4000

    def onEvent(self, event: Any) -> None:
        if event == "made":
            self.transport.write(self.MUCH)
            self.transport.loseConnection()


class ListenTests(EndpointsTestCase):
    """
    Tests for endpoints that listen.
    """

    def test_endpointsAndPortsProvideTheirInterfaces(self) -> None:
        verifyObject(IStreamServerEndpoint, self.server(f"{FAR}:port=80"))
        verifyObject(IStreamClientEndpoint, self.client(f"{NEAR}:10.9.0.2:80"))
        verifyObject(IListeningPort, self.listen(f"{FAR}:port=80"))

    def test_parsingOpensNothing(self) -> None:
        endpoints = [self.server(f"{FAR}:port=80"), self.client(f"{NEAR}:10.9.0.2:80")]
        self.assertEqual([device.opened for device in self.devices.values()], [0, 0], endpoints)

    def test_aConnectionCarriesData(self) -> None:
        for address in "10.9.0.2", r"fd09\:\:2":
            servers = Server()
            port = self.listen(f"{FAR}:port=80", servers)
            client = self.connect(f"{NEAR}:{address}:80")
            client.transport.write(b"hello")
            self.turn()
            self.assertEqual(servers.made[0].data, b"hello")
            client.transport.loseConnection()
            self.turn()
            self.assertClosed(client, servers.made[0])
            self.stop(port)

    def test_aPortReportsItsAddress(self) -> None:
        port = self.listen(f"{FAR}:port=80:interface=10.9.0.2")
        self.assertEqual((port.getHost().host, port.getHost().port), ("10.9.0.2", 80))
        any = self.listen("tuntap:tun1:0")
        self.assertGreaterEqual(any.getHost().port, 49152)

    def test_theBacklogIsPassedOn(self) -> None:
        self.listen(f"{FAR}:port=80:backlog=7")
        states = {state.name: state for state in self.made[0].host.tables()}
        self.assertEqual(states["half open of a port"].bound, 7)

    def test_theKernelsEndIsConfigured(self) -> None:
        self.listen(rf"{FAR}:port=80:kernel=10.9.0.1/24+fd09\:\:1/64")
        self.assertEqual(self.configured, [("tun1", ["10.9.0.1/24", "fd09::1/64"])])

    def test_theHostHasTheGivenAddressesAndGateway(self) -> None:
        self.listen(f"{FAR}:port=80:gateway=10.9.0.1")
        host = self.made[0].host
        self.assertEqual(host.addresses, ["10.9.0.2/24", "fd09::2/64"])
        self.assertIn("0.0.0.0/0", host.routes)

    def test_severalPortsShareOneHost(self) -> None:
        ports = [self.listen(f"{FAR}:port=80"), self.listen("tuntap:tun1:port=81"), self.listen(f"{FAR}:82")]
        self.assertEqual((len(self.made), self.devices["tun1"].opened), (1, 1))
        for port in ports[:-1]:
            self.stop(port)
            self.assertTrue(self.isOpen("tun1"))
        self.stop(ports[-1])
        self.assertFalse(self.isOpen("tun1"))

    def test_acceptedConnectionsKeepTheHostOpen(self) -> None:
        servers = Server()
        port = self.listen(f"{FAR}:port=80", servers)
        client = self.connect(f"{NEAR}:10.9.0.2:80")
        self.stop(port)
        client.transport.write(b"still there")
        self.turn()
        self.assertEqual(servers.made[0].data, b"still there")
        self.assertTrue(self.isOpen("tun1"))
        servers.made[0].transport.loseConnection()
        self.turn()
        self.assertClosed(client, servers.made[0])
        self.assertFalse(self.isOpen("tun1"))

    def test_aStoppedPortCanBeStartedAgain(self) -> None:
        port = self.listen(f"{FAR}:port=80")
        self.stop(port)
        port.startListening()
        port.startListening()
        self.connect(f"{NEAR}:10.9.0.2:80")
        self.assertEqual(len(self.made[0].host.tcp.transports), 0)
        self.assertEqual(len(self.made[1].host.tcp.transports), 1)
        self.stop(port)
        self.assertIsNone(self.successResultOf(port.stopListening()))

    def test_listeningWaitsForAHostThatIsClosing(self) -> None:
        stopped = self.listen(f"{FAR}:port=80").stopListening()
        again: list[Any] = []

        def listen() -> None:
            again.extend(self.server(f"{FAR}:port={number}").listen(Server()) for number in (80, 81))
            for each in again:
                self.assertNoResult(each)

        # This runs in the same turn as the closing of the host, but after it has begun.
        self.clock.callLater(0, listen)
        self.turn()
        self.successResultOf(stopped)
        for each in again:
            self.assertTrue(self.successResultOf(each).getHost())
        self.assertEqual((self.devices["tun1"].opened, len(self.made)), (2, 2))

    def test_anEndpointServiceListensOnIt(self) -> None:
        service = strports.service(f"{FAR}:port=80", Server(), self.clock)  # type: ignore[arg-type]
        service.privilegedStartService()
        self.assertTrue(self.isOpen("tun1"))
        service.startService()
        stopped = service.stopService()
        self.turn()
        self.successResultOf(stopped)
        self.assertFalse(self.isOpen("tun1"))

    def test_aDeletedInterfaceEndsConnectionsAndCanBeReplaced(self) -> None:
        servers = Server()
        port = self.listen(f"{FAR}:port=80", servers)
        self.connect(f"{NEAR}:10.9.0.2:80")
        self.devices["tun1"].delete()
        self.turn()
        self.assertIsInstance(servers.made[0].lost, ConnectionLost)
        self.assertFalse(self.isOpen("tun1"))
        # This opens another host, which must not be closed when the first port stops.
        self.listen(f"{FAR}:port=80")
        self.stop(port)
        self.assertTrue(self.isOpen("tun1"))
        self.connect(f"{NEAR}:10.9.0.2:80")

    # Failures to open a host or a port

    def test_aDeviceThatCannotBeOpenedIsReported(self) -> None:
        self.devices["tun1"].refusal = REFUSAL
        endpoint = self.server(f"{FAR}:port=80")
        error = self.failureResultOf(endpoint.listen(Server()), CannotListenError).value
        self.assertIn("opening tun1 is not permitted: run as root", str(error))
        self.devices["tun1"].refusal = None
        self.turn()
        self.assertTrue(self.successResultOf(endpoint.listen(Server())).getHost())

    def test_aServiceWhoseDeviceCannotBeOpenedRaisesAtOnce(self) -> None:
        self.devices["tun1"].refusal = REFUSAL
        service = strports.service(f"{FAR}:port=80", Server(), self.clock)  # type: ignore[arg-type]
        self.assertRaises(CannotListenError, service.privilegedStartService)

    def test_aFailedConfigurationIsReported(self) -> None:
        def refuse(*ignored: object) -> None:
            raise OSError(errno.EPERM, "tun1: add the address 10.9.0.1/24: not permitted")

        self.patch(configure, "configureNow", refuse)
        listened = self.server(f"{FAR}:port=80:kernel=10.9.0.1/24").listen(Server())
        self.assertIn("add the address", str(self.failureResultOf(listened, CannotListenError).value))
        self.turn()
        self.assertFalse(self.isOpen("tun1"))

    def test_aTakenPortIsReported(self) -> None:
        port = self.listen(f"{FAR}:port=80")
        self.failureResultOf(self.server("tuntap:tun1:port=80").listen(Server()), CannotListenError)
        self.turn()
        self.assertTrue(self.isOpen("tun1"))
        self.stop(port)
        self.assertFalse(self.isOpen("tun1"))

    def test_aForeignAddressIsReported(self) -> None:
        listened = self.server(f"{FAR}:port=80:interface=10.9.0.7").listen(Server())
        text = str(self.failureResultOf(listened, CannotListenError).value)
        self.assertIn("it has 10.9.0.2, fd09::2", text)
        self.turn()
        self.assertFalse(self.isOpen("tun1"))

    def test_aWrongFactoryIsReported(self) -> None:
        self.failureResultOf(self.server(f"{FAR}:port=80").listen(object()), TypeError)
        self.turn()
        self.assertFalse(self.isOpen("tun1"))


class ConnectTests(EndpointsTestCase):
    """
    Tests for endpoints that connect.
    """

    def setUp(self) -> None:
        super().setUp()
        self.servers = Server()
        self.port = self.listen(f"{FAR}:port=80", self.servers)

    def test_aConnectionKeepsTheHostOpen(self) -> None:
        client = self.connect(f"{NEAR}:10.9.0.2:80")
        self.turn(100)
        self.assertTrue(self.isOpen("tun0"))
        client.transport.loseConnection()
        self.turn()
        self.assertFalse(self.isOpen("tun0"))

    def test_dataWrittenBeforeTheCloseArrives(self) -> None:
        self.connect(f"{NEAR}:10.9.0.2:80", Sender)
        self.turn(5)
        self.assertEqual(self.servers.made[0].data, Sender.MUCH)
        self.assertFalse(self.isOpen("tun0"))

    def test_severalConnectionsShareOneHost(self) -> None:
        clients = [self.connect(f"{NEAR}:10.9.0.2:80"), self.connect("tuntap:tun0:host=10.9.0.2:port=80")]
        self.assertEqual(self.devices["tun0"].opened, 1)
        for client, isLeft in zip(clients, (True, False), strict=True):
            client.transport.abortConnection()
            self.turn()
            self.assertEqual(self.isOpen("tun0"), isLeft)

    def test_theBindAddressIsUsed(self) -> None:
        client = self.connect(r"tuntap:tun0:mode=tun:address=10.9.0.1/24+10.9.0.9/24:10.9.0.2:80:bindAddress=10.9.0.9")
        self.assertEqual(client.transport.getHost().host, "10.9.0.9")

    def test_aRefusedConnectionClosesTheHost(self) -> None:
        connected = self.client(f"{NEAR}:10.9.0.2:81").connect(Server())
        self.turn()
        self.failureResultOf(connected, ConnectionRefusedError)
        self.assertFalse(self.isOpen("tun0"))

    def test_aTimeoutClosesTheHost(self) -> None:
        connected = self.client(f"{NEAR}:10.9.0.7:80:timeout=3").connect(Server())
        self.turn(2.9)
        self.assertNoResult(connected)
        self.turn(0.2)
        self.failureResultOf(connected)
        self.turn()
        self.assertFalse(self.isOpen("tun0"))

    def test_aCancelledConnectionClosesTheHost(self) -> None:
        connected = self.client(f"{NEAR}:10.9.0.7:80").connect(Server())
        self.turn()
        connected.cancel()
        self.failureResultOf(connected, ConnectingCancelledError)
        self.turn()
        self.assertFalse(self.isOpen("tun0"))

    def test_aDeviceThatCannotBeOpenedIsReported(self) -> None:
        self.devices["tun0"].refusal = REFUSAL
        error = self.failureResultOf(self.client(f"{NEAR}:10.9.0.2:80").connect(Server()), ConnectError).value
        self.assertEqual(error.osError, errno.EPERM)
        self.assertIn("opening tun1 is not permitted: run as root", str(error))

    def test_aClientCanConnectAgainWhenItsConnectionIsLost(self) -> None:
        again: list[Any] = []
        endpoint = self.client(f"{NEAR}:10.9.0.2:80")

        class Persistent(Talker):
            def onEvent(self, event: Any) -> None:
                if isinstance(event, BaseException) and not again:
                    again.append(endpoint.connect(Server()))

        self.connect(f"{NEAR}:10.9.0.2:80", Persistent).transport.loseConnection()
        self.turn()
        self.assertTrue(self.successResultOf(again[0]).transport.connected)

    def test_aPortAndAConnectionShareTheHost(self) -> None:
        own = self.listen(f"{NEAR}:port=80")
        client = self.connect("tuntap:tun0:host=10.9.0.2:port=80")
        self.assertEqual(self.devices["tun0"].opened, 1)
        client.transport.loseConnection()
        self.turn()
        self.assertTrue(self.isOpen("tun0"))
        self.stop(own)
        self.assertFalse(self.isOpen("tun0"))
