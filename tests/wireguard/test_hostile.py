"""
A protocol whose application, resolver, socket and files go wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.wireguard.test_protocol import KEYS, NetworkTestCase
from txtuntap.wireguard import Peer, WireGuard, keyText
from txtuntap.wireguard.configuration import Configuration, ConfigurationError
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.socket import ISocket, Received
from txtuntap.wireguard.uapi import UAPIError, change


@implementer(IHostnameResolver)
class SlowResolver:
    """
    Answers when the test says so.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def resolveHostName(self, receiver: Any, name: str, *ignored: Any) -> Any:
        """
        Keep the receiver of the answer.
        """
        self.asked.append(receiver)
        return Deferred()

    def answer(self, address: str) -> None:
        """
        Answer the question that has waited longest.
        """
        receiver = self.asked.pop(0)
        receiver.addressResolved(type("Address", (), {"host": address})())
        receiver.resolutionComplete()


class NameTests(NetworkTestCase):
    """
    Names whose answers are late.
    """

    def setUp(self) -> None:
        super().setUp()
        self.resolver = SlowResolver()
        self.outside[0].installNameResolver(self.resolver)

    def test_aLateAnswerDoesNotMoveAPeerThatHasMoved(self) -> None:
        peer = self.knows(0, 1, "vpn.example:51820")
        self.knows(1, 0, "192.0.2.1:51820")
        self.begin()
        self.assertTrue(self.ping(1, "10.0.0.1"))
        self.assertEqual(str(peer.endpoint), "192.0.2.2:51820")
        self.resolver.answer("192.0.2.77")
        self.assertEqual(str(peer.endpoint), "192.0.2.2:51820")

    def test_aNameWithAnotherPortIsTaken(self) -> None:
        peer = self.knows(0, 1, "192.0.2.2:51820")
        self.begin()
        self.wireguards[0].changePeer(KEYS[1].public, endpoint="vpn.example:9")
        self.resolver.answer("192.0.2.2")
        self.assertEqual(str(peer.endpoint), "192.0.2.2:9")

    def test_oneQuestionForAPeerAtATime(self) -> None:
        self.knows(0, 1, "vpn.example:51820")
        self.begin()
        self.ping(0, "10.0.0.2")
        self.network.clock.advance(90)
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.answer("192.0.2.77")
        self.ping(0, "10.0.0.2")
        self.network.clock.advance(6)
        self.assertEqual(len(self.resolver.asked), 1)

    def test_theNameOfAPeerThatHasOurNewKeyIsForgotten(self) -> None:
        self.knows(0, 1, "vpn.example:51820")
        self.begin()
        self.wireguards[0].setPrivateKey(KEYS[1])
        self.assertEqual(self.wireguards[0].peers, [])
        self.wireguards[0].setPrivateKey(KEYS[0])
        peer = self.knows(0, 1)
        self.resolver.answer("192.0.2.77")
        self.assertIsNone(peer.endpoint)


class CallTests(NetworkTestCase):
    """
    Functions of the application that raise each time.
    """

    def test_oneLineASecond(self) -> None:
        def fails(peer: Peer) -> None:
            raise RuntimeError("of the application")

        wireguard = self.wireguards[1]
        wireguard.endpointChanged = fails
        self.knows(0, 1, "192.0.2.2:51820")
        peer = self.knows(1, 0)
        self.begin()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        for port in range(1, 50):
            wireguard._core._authentic(peer, 0, Endpoint("192.0.2.1", port), self.network.clock.seconds())
            wireguard._core._callApplication()
        self.assertEqual(wireguard.counters["protocolFailures"], 50)
        self.assertLessEqual(len(self.flushLoggedErrors(RuntimeError)), 2)


@implementer(ISocket)
class Refusing:
    """
    A socket that refuses marks and one port.
    """

    def __init__(self) -> None:
        self.port = 0
        self.received: Received | None = None

    def open(self, port: int, mark: int, received: Received) -> None:
        """
        Listen, unless that is refused.
        """
        assert self.received is None
        if mark or port == 7:
            raise CannotListenError("", port, PermissionError(1, "Operation not permitted"))
        self.port, self.received = port or 40000, received

    def close(self) -> Deferred[None]:
        """
        Forget the port and the receiver.
        """
        self.port, self.received = 0, None
        return succeed(None)

    def send(self, messages: Sequence[bytes | memoryview], endpoint: Endpoint, trafficClass: int) -> int:
        """
        Send nothing, and report success.
        """
        return 0


class SocketTests(SynchronousTestCase):
    """
    Sockets that refuse a port or a mark.
    """

    def setUp(self) -> None:
        self.socket = Refusing()
        self.wireguard = WireGuard(KEYS[0], 5, Clock(), outside=self.socket)
        self.wireguard.transport = type("Transport", (), {"mtu": 1420})()

    def test_whatIsRefusedChangesNothing(self) -> None:
        self.wireguard.startProtocol()
        self.assertRaises(CannotListenError, self.wireguard.setMark, 9)
        self.assertRaises(CannotListenError, self.wireguard.setListenPort, 7)
        self.assertIsNotNone(self.socket.received)
        self.assertEqual((self.wireguard.fwmark, self.wireguard.listenPort), (0, 5))
        with self.assertRaises(UAPIError) as caught:
            change(self.wireguard, ["fwmark=9"])
        self.assertEqual(caught.exception.number, 1)
        self.wireguard.setMark(0)
        self.wireguard.setListenPort(0)
        self.wireguard.setListenPort(6)
        self.assertEqual((self.wireguard.fwmark, self.socket.port), (0, 6))

    def test_aStartThatIsRefusedIsTriedAgain(self) -> None:
        self.wireguard.setListenPort(7)
        self.assertRaises(CannotListenError, self.wireguard.startProtocol)
        self.wireguard.setListenPort(8)
        self.wireguard.startProtocol()
        for _ in range(2):
            self.wireguard.stopProtocol()
        self.wireguard.startProtocol()
        self.assertEqual(self.wireguard.listenPort, 8)


class SecretTests(SynchronousTestCase):
    """
    Keys in the wrong place of a file, or of a request.
    """

    def test_aKeyInTheWrongPlaceIsNotRepeated(self) -> None:
        secret = keyText(KEYS[0].secret())
        peer = f"[Peer]\nPublicKey = {keyText(KEYS[1].public)}\n"
        for text in (
            f"[Interface]\nPrivateKey =\n{secret}\n",
            f"[Interface]\nPrivateKey: {secret}\n",
            f"[Interface]\nListenPort = {secret}\n",
            f"[Interface]\nAddress = {secret}\n",
            f"[Interface]\nTable = {secret}\n",
            f"[Interface]\nSaveConfig = {secret[:-1]}\n",
            f"[Interface]\nPrivateKey = {secret[:-1]}\n",
            f"{peer}Endpoint = {secret}\n",
            f"{peer}AllowedIPs = {secret}\n",
            f"{peer}PresharedKey = {secret}=\n",
        ):
            with self.assertRaises(ConfigurationError) as caught:
                Configuration.of(text)
            self.assertNotIn(secret[:20], str(caught.exception), text)
            self.assertIn("line ", str(caught.exception))

    def test_aKeyOfFewerOctetsIsRefused(self) -> None:
        wireguard = WireGuard(KEYS[0], 5, Clock(), outside=Refusing())
        for line in f"private_key={'00 ' * 21} ", f"private_key={'0' * 63}\u00b2", f"public_key={'00 ' * 21} ":
            with self.assertRaises(UAPIError):
                change(wireguard, [line])
        self.assertEqual((wireguard.privateKey, wireguard.peers), (KEYS[0], []))
