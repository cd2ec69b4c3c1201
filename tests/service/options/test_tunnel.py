"""
Tests for the options of C{twistd tuntap tunnel}: L{txtuntap.service.options.tunnel} and
L{txtuntap.service.options.peer}.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import certificate
from tests.service.inprocess import refused
from txtuntap.service.options.peer import DatagramPeerSettings, PeerSettings, StreamPeerSettings
from txtuntap.service.options.tunnel import TunnelOptions
from txtuntap.tunnel.datagram import DatagramAddresses
from txtuntap.tunnel.vxlan import VXLAN
from txtuntap.wire import ipv4


class TunnelOptionsTests(SynchronousTestCase):
    """
    Tests for the options about endpoints, framings, certificates and allowed addresses.
    """

    def peer(self, *arguments: str) -> PeerSettings:
        options = TunnelOptions()
        options.parseOptions(arguments)  # type: ignore[no-untyped-call]
        return options.settings.peer

    def refused(self, *arguments: str) -> str:
        return str(self.assertRaises(UsageError, self.peer, *arguments))

    def test_vxlanUsesThePeersPortAtBothEnds(self) -> None:
        peer = self.peer(
            *("--tap", "tap0", "--connect", "udp:192.0.2.1:4789", "--framing", "vxlan:vni=42", "--insecure")
        )
        assert isinstance(peer, DatagramPeerSettings)
        self.assertEqual(peer.addresses, DatagramAddresses(("192.0.2.1", 4789), "0.0.0.0", 4789))
        framing = peer.framing(peer.mode)
        assert isinstance(framing, VXLAN)
        self.assertEqual(framing.vni, 42)

    def test_theDefaultFramingOfDatagramsIsBare(self) -> None:
        peer = self.peer("--tun", "tun0", "--listen", "udp:4000", "--insecure")
        assert isinstance(peer, DatagramPeerSettings)
        self.assertEqual(peer.addresses, DatagramAddresses(None, "0.0.0.0", 4000))
        self.assertEqual(peer.framing(peer.mode).pack(b"packet"), [b"packet"])

    def test_aStreamEndpointMakesStreamSettings(self) -> None:
        peer = self.peer("--tap", "tap0", "--connect", "tcp:127.0.0.1:5000", "--framing", "qemu")
        self.assertIsInstance(peer, StreamPeerSettings)

    def test_udpBeyondThisMachineNeedsInsecure(self) -> None:
        for endpoint in (
            ("--connect", "udp:192.0.2.1:4000"),
            ("--connect", "udp:[fd00::1]:4000"),
            ("--listen", "udp:4000"),
        ):
            self.assertIn("--insecure", self.refused("--tun", "tun0", *endpoint))
        for endpoint in (
            ("--connect", "udp:127.0.0.1:4000"),
            ("--connect", "udp:[::1]:4000"),
            ("--listen", "udp:4000:interface=127.0.0.1"),
        ):
            self.peer("--tun", "tun0", *endpoint)

    def test_certificatesAreRefusedForUDP(self) -> None:
        refused = self.refused("--tun", "tun0", "--connect", "udp:127.0.0.1:4000", "--certificate", "me.pem")
        self.assertIn("not with udp:", refused)

    def test_anIncompleteIdentityIsRefusedWithTheMissingOption(self) -> None:
        for given, text in (
            (("--certificate", "me.pem"), "--certificate: give --trust or --pin"),
            (("--pin", "00" * 32), "--pin: with TLS this end shows a certificate, too"),
            (("--certificate", "me.pem", "--pin", "00" * 32, "--peer-name", "x"), "--peer-name: .*--trust"),
        ):
            self.assertRegex(self.refused("--tun", "tun0", "--listen", "tcp:4000", *given), text)

    def test_errorsNameTheOption(self) -> None:
        for option, endpoint, *others in [
            ("--connect", "udp:example.com:4000"),
            ("--listen", "udp:127.0.0.1:4000"),
            ("--connect", "udp4:127.0.0.1:4000"),
            ("--framing", "udp:127.0.0.1:4000", "vxlan"),
            ("--framing", "udp:127.0.0.1:4000", "vxlan:vni=42"),
            ("--framing", "udp:127.0.0.1:4000", "txtuntap"),
            ("--framing", "tcp:127.0.0.1:4000", "bare"),
            ("--framing", "tcp:127.0.0.1:4000", "qemu"),
        ]:
            end = option if option != "--framing" else "--connect"
            framing = ["--framing", *others] if others else []
            self.assertTrue(
                self.refused("--tun", "tun0", end, endpoint, "--insecure", *framing).startswith(option), endpoint
            )

    def test_aTapOverSocatsTCPIsRefusedWithTheReason(self) -> None:
        refused = self.refused("--tap", "tap0", "--connect", "tcp:127.0.0.1:4000", "--framing", "socat")
        self.assertIn("does not mark where an Ethernet frame ends", refused)
        self.assertIn("udp:", refused)

    def test_errorsAboutEndpointsDoNotMentionTwistedsFunctions(self) -> None:
        for option, endpoint in [
            *(
                ("--listen", endpoint)
                for endpoint in ("tcp", "tcp:abc", "tcp:1:2:3:4:5", "tcp:4000:interface=fd00::1", "4000", "")
            ),
            *(
                ("--connect", endpoint)
                for endpoint in ("tcp:host", "tcp:fd00::1:4000", "tcp:10.0.0.1:4000:no=1", "x:y", "unix:")
            ),
            *(("--listen", endpoint) for endpoint in ("tcp:99999", "tcp6:port=99999", "unix:")),
            *(("--connect", endpoint) for endpoint in ("tcp:10.0.0.1:99999", "tls:example.org:99999")),
        ]:
            said = self.refused("--tun", "tun0", option, endpoint, "--insecure")
            self.assertTrue(said.startswith(option), said)
            self.assertNotRegex(said, r"argument|\(\)|literal|multiple")

    def test_validEndpointsAreAccepted(self) -> None:
        for option, endpoint in [
            ("--listen", r"tcp6:4000:interface=fd00\:\:1"),
            ("--connect", r"tcp:fd00\:\:1:4000"),
            ("--connect", "tcp:host=10.0.0.1:port=4000"),
            ("--connect", "unix:/run/tunnel"),
            ("--listen", "unix:address=/run/tunnel:mode=600"),
        ]:
            self.assertEqual(endpoint, self.peer("--tun", "tun0", option, endpoint, "--insecure").endpoint)

    def test_invalidIdentitiesAreRefused(self) -> None:
        with TemporaryDirectory() as directory:
            own = certificate(Path(directory), "own")
            for options, text in {
                ("--listen", "tcp:4000"): "or --insecure",
                ("--listen", "ssl:4000"): "--certificate, --key, and --trust or --pin",
                ("--listen", "unix:/x", "--trust", own.public): "give --certificate",
                ("--listen", "tcp:4000", "--certificate", own.file): "to authenticate the peer",
                ("--listen", "tcp:4000", "--certificate", own.public, "--pin", own.pin): "no private key",
                ("--connect", "nothing:4000", "--insecure"): "is no endpoint",
            }.items():
                said = refused("tunnel", "--tun", "tun0", *options)
                self.assertIn(text, said[-1], options)
                self.assertFalse([line for line in said if line.startswith("Traceback")], said)

    def test_allowRouterNeedsARestrictionOfAddresses(self) -> None:
        tunnel = "--tap", "tap0", "--listen", "unix:/run/tunnel"
        redirect = ipv4.packHeader(b"\x0a\0\0\2", b"\x0a\0\0\1", 1, 8) + b"\5" + bytes(7)
        for given in ("--allow", "10.0.0.0/8"), ("--allow-lladdr", "02:00:00:00:00:02"):
            for more, isRouter in ((), False), (("--allow-router",), True):
                allowed = self.peer(*tunnel, *given, *more).allowed
                assert allowed is not None
                self.assertEqual(isRouter, allowed.permitsRole(redirect, 0, False))
        self.assertIsNone(self.peer(*tunnel).allowed)
        self.assertIn("give one of these", self.refused(*tunnel, "--allow-router"))
