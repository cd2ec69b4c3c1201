"""
The interface that C{wg} uses, line by line.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.network import Network
from txtuntap.wireguard import PrivateKey, WireGuard, uapi
from txtuntap.wireguard.uapi import MAX_CLIENTS, MAX_LINE, UAPIFactory

KEYS = [PrivateKey.generate(Random(number)) for number in range(4)]


class UAPITests(SynchronousTestCase):
    """
    Requests of clients and their answers.
    """

    def setUp(self) -> None:
        network = Network(1)
        self.clock = Clock()
        self.wireguard = WireGuard(
            KEYS[0], 51820, network.clock, outside=network.host("192.0.2.1/24", network.switch())
        )
        self.factory = UAPIFactory(self.wireguard, self.clock)

    def client(self) -> tuple[Any, StringTransport]:
        """
        A client that is connected.
        """
        protocol: Any = self.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, *lines: str) -> list[str]:
        """
        The lines of the answer to a request.
        """
        protocol, transport = self.client()
        protocol.dataReceived("".join(f"{line}\n" for line in (*lines, "")).encode())
        protocol.connectionLost()
        self.assertTrue(transport.value().endswith(b"\n\n"))
        answer: list[str] = transport.value().decode().splitlines()[:-1]
        return answer

    def test_theState(self) -> None:
        self.wireguard.addPeer(KEYS[1].public, ["10.0.0.2", "fd00::/64"], "[2001:db8::1]:5", 25, bytes(range(32)))
        self.wireguard.addPeer(KEYS[2].public)
        self.assertEqual(
            self.ask("get=1"),
            [
                f"private_key={KEYS[0].secret().hex()}",
                "listen_port=51820",
                f"public_key={KEYS[1].public.hex()}",
                f"preshared_key={bytes(range(32)).hex()}",
                "protocol_version=1",
                "endpoint=[2001:db8::1]:5",
                "last_handshake_time_sec=0",
                "last_handshake_time_nsec=0",
                "tx_bytes=0",
                "rx_bytes=0",
                "persistent_keepalive_interval=25",
                "allowed_ip=10.0.0.2/32",
                "allowed_ip=fd00::/64",
                f"public_key={KEYS[2].public.hex()}",
                f"preshared_key={bytes(32).hex()}",
                "protocol_version=1",
                "last_handshake_time_sec=0",
                "last_handshake_time_nsec=0",
                "tx_bytes=0",
                "rx_bytes=0",
                "persistent_keepalive_interval=0",
                "errno=0",
            ],
        )

    def test_aPeerIsAddedAndChanged(self) -> None:
        lines = [
            f"public_key={KEYS[1].public.hex()}",
            f"preshared_key={'01' * 32}",
            "endpoint=192.0.2.9:7",
            "persistent_keepalive_interval=9",
            "replace_allowed_ips=true",
            "allowed_ip=10.0.0.9/8",
            "allowed_ip=fd00::1/128",
            "protocol_version=1",
        ]
        self.assertEqual(self.ask("set=1", *lines), ["errno=0"])
        (peer,) = self.wireguard.peers
        self.assertEqual((peer.presharedKey, str(peer.endpoint), peer.keepalive), (b"\1" * 32, "192.0.2.9:7", 9))
        self.assertEqual(list(map(str, peer.allowed)), ["10.0.0.0/8", "fd00::1/128"])
        self.assertEqual(
            self.ask("set=1", lines[0], "allowed_ip=-10.0.0.0/8", "preshared_key=" + "00" * 32), ["errno=0"]
        )
        self.assertEqual(list(map(str, peer.allowed)), ["fd00::1/128"])
        self.assertFalse(peer.hasPresharedKey)
        self.assertEqual(self.ask("set=1", lines[0], "remove=true"), ["errno=0"])
        self.assertEqual(self.wireguard.peers, [])

    def test_whatIsOnlyUpdatedIsNotAdded(self) -> None:
        key = f"public_key={KEYS[1].public.hex()}"
        self.assertEqual(self.ask("set=1", key, "update_only=true", "allowed_ip=10.0.0.0/8"), ["errno=0"])
        self.assertEqual(self.wireguard.peers, [])
        self.wireguard.addPeer(KEYS[1].public)
        self.assertEqual(self.ask("set=1", key, "update_only=true", "allowed_ip=10.0.0.0/8"), ["errno=0"])
        self.assertEqual(len(self.wireguard.peers[0].allowed), 1)

    def test_ourOwnKeyIsIgnored(self) -> None:
        lines = f"public_key={KEYS[0].public.hex()}", "endpoint=192.0.2.9:7"
        self.assertEqual(self.ask("set=1", *lines), ["errno=0"])
        self.assertEqual(self.wireguard.peers, [])

    def test_theInterfaceIsChanged(self) -> None:
        self.wireguard.addPeer(KEYS[1].public)
        lines = f"private_key={KEYS[3].secret().hex()}", "listen_port=7", "fwmark=0", "replace_peers=true"
        self.assertEqual(self.ask("set=1", *lines), ["errno=0"])
        self.assertEqual(self.wireguard.privateKey, KEYS[3])
        self.assertEqual((self.wireguard.listenPort, self.wireguard.peers), (7, []))
        self.assertEqual(self.ask("set=1", f"private_key={'00' * 32}"), ["errno=0"])
        self.assertIsNone(self.wireguard.privateKey)
        self.assertEqual(self.ask("get=1"), ["listen_port=7", "errno=0"])

    def test_mistakes(self) -> None:
        key = f"public_key={KEYS[1].public.hex()}"
        for number, lines in (
            (errno.EPROTO, ["nonsense"]),
            (errno.EINVAL, ["other=1"]),
            (errno.EINVAL, ["private_key=00"]),
            (errno.EINVAL, [f"private_key={'zz' * 32}"]),
            (errno.EINVAL, ["listen_port=65536"]),
            (errno.EINVAL, ["listen_port=-1"]),
            (errno.EINVAL, ["replace_peers=false"]),
            (errno.EINVAL, [key, "endpoint=here"]),
            (errno.EINVAL, [key, "allowed_ip=10.0.0.300/8"]),
            (errno.EINVAL, [key, "protocol_version=2"]),
            (errno.EINVAL, [key, "persistent_keepalive_interval=off"]),
            (errno.EINVAL, [key, "listen_port=5"]),
        ):
            self.assertEqual(self.ask("set=1", *lines), [f"errno=-{number}"], lines)

    def test_linesBeforeAMistakeStayInForce(self) -> None:
        self.ask("set=1", f"public_key={KEYS[1].public.hex()}", "allowed_ip=10.0.0.0/8", "allowed_ip=x")
        self.assertEqual(len(self.wireguard.peers[0].allowed), 1)

    def test_severalRequests(self) -> None:
        protocol, transport = self.client()
        protocol.dataReceived(b"set=1\nlisten_port=9\n\nset=1\n\n")
        self.assertEqual(transport.value(), b"errno=0\n\nerrno=0\n\n")
        protocol.dataReceived(b"other=1\n\n")
        self.assertTrue(transport.disconnecting)

    def test_aClientThatSaysNothingIsDropped(self) -> None:
        _, transport = self.client()
        self.clock.advance(59)
        self.assertFalse(transport.disconnected)
        self.clock.advance(2)
        self.assertTrue(transport.disconnected)

    def test_bounds(self) -> None:
        protocol, transport = self.client()
        protocol.dataReceived(b"x" * (MAX_LINE + 2))
        self.assertTrue(transport.disconnected or transport.disconnecting)
        protocol, transport = self.client()
        self.patch(uapi, "MAX_REQUEST", 1000)
        protocol.dataReceived(b"set=1\n" + b"a=1\n" * 30)
        self.assertTrue(transport.disconnected)
        clients = [self.client() for _ in range(MAX_CLIENTS - self.factory.clients)]
        self.assertIsNone(self.factory.buildProtocol(None))
        clients[0][0].connectionLost()
        self.assertIsNotNone(self.factory.buildProtocol(None))

    @given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n"), min_size=1)))
    def test_anyLinesAreAnswered(self, lines: list[str]) -> None:
        (answer,) = self.ask("set=1", *lines)
        self.assertTrue(answer.startswith("errno="))
