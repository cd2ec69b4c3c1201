"""
Tests for the options of C{twistd tuntap switch}: L{txtuntap.service.options.switch}.
"""

from __future__ import annotations

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import TAP
from txtuntap.device.settings import InterfaceSettings
from txtuntap.middleware import Netem
from txtuntap.service.options import Options
from txtuntap.service.options.peer import StreamPeerSettings
from txtuntap.service.options.switch import (
    SwitchOptions,
    SwitchPortSettings,
    SwitchServiceSettings,
    SwitchTap,
    SwitchTunnel,
)
from txtuntap.testing import udpPacket
from txtuntap.wire.ipv6 import packHeader

#: An IPv6 packet in which a router advertises itself.
ADVERTISEMENT = packHeader(bytes(16), bytes(16), 58, 16) + b"\x86" + bytes(15)


class TapTests(SynchronousTestCase):
    def test_aTapNeedsOnlyAName(self) -> None:
        self.assertEqual(SwitchTap.of("tap0"), SwitchTap(interface="tap0"))

    def test_settingsOfThePortAreParsed(self) -> None:
        tap = SwitchTap.of(
            "tap0,vlan=1,trunk=10+20-22,isolated,stations=02:00:00:00:00:01+02:00:00:00:00:02,broadcasts=5,multicasts=6,unknowns=7,router=no"
        )
        expected = SwitchPortSettings(
            vlan=1,
            trunk=[10, 20, 21, 22],
            isolated=True,
            stations=["02:00:00:00:00:01", "02:00:00:00:00:02"],
            broadcasts=5,
            multicasts=6,
            unknowns=7,
            router=False,
        )
        self.assertEqual(tap.port, expected)

    def test_settingsOfTheKernelsEndAreParsed(self) -> None:
        tap = SwitchTap.of("tap0,netns=blue,address=10.0.0.1/24+fd00::1/64,mtu=9000")
        self.assertEqual((tap.name, tap.namespace, tap.port), ("tap0@blue", "blue", SwitchPortSettings()))
        self.assertEqual(tap.kernelEnd, InterfaceSettings(addresses=["10.0.0.1/24", "fd00::1/64"], mtu=9000))

    def test_faultsAreParsed(self) -> None:
        """
        An interface without the setting has no faults, and none that can be changed.
        """
        self.assertEqual(SwitchTap.of("tap0,impairment=delay 50ms loss 1%").impairment, Netem(delay=0.05, loss=0.01))
        self.assertEqual(SwitchTap.of("tap0,impairment=,isolated").impairment, Netem())
        self.assertIsNone(SwitchTap.of("tap0").impairment)
        tunnel = SwitchTunnel.of("listen=unix:/run/tunnel,impairment=loss 1%")
        self.assertEqual(tunnel.impairment, Netem(loss=0.01))

    def test_theKernelsEndCanBeSetUpWithoutAddresses(self) -> None:
        self.assertEqual(SwitchTap.of("tap0,up").kernelEnd, InterfaceSettings())
        self.assertEqual(SwitchTap.of("tap0,mtu=1400").kernelEnd, InterfaceSettings(mtu=1400, up=None))


class OptionsTests(SynchronousTestCase):
    def refused(self, text: str, *arguments: str) -> None:
        """
        Check that the arguments are refused with a message that contains C{text}.
        """
        with self.assertRaises(UsageError) as raised:
            SwitchOptions().parseOptions(arguments)  # type: ignore[no-untyped-call]
        self.assertIn(text, str(raised.exception))

    def test_switchIsASubcommand(self) -> None:
        options = Options()
        arguments = ["switch", "--tap", "tap0", "--tap", "tap1,vlan=10", "--ageing", "30"]
        options.parseOptions(arguments)  # type: ignore[no-untyped-call]
        settings = options.settings
        assert isinstance(settings, SwitchServiceSettings)
        self.assertEqual([tap.name for tap in settings.taps], ["tap0", "tap1"])
        self.assertEqual(settings.ageingTime, 30)

    def test_errorsSayWhatToDo(self) -> None:
        self.refused("--tap tap0,vlan=10,isolated")
        self.refused("'extra'", "--tap", "tap0", "extra")
        self.refused("a/b", "--tap", "a/b")
        self.refused("isolated, up, vlan=...", "--tap", "tap0,colour=blue")
        self.refused("'isolated=yes' is none of", "--tap", "tap0,isolated=yes")
        self.refused("'vlan=' is none of", "--tap", "tap0,vlan=")
        self.refused("vlan is given twice", "--tap", "tap0,vlan=1,vlan=2")
        self.refused("'impairment' is none of", "--tap", "tap0,impairment")
        self.refused("'lose' is none", "--tap", "tap0,impairment=lose 1%")
        self.refused("'maybe' is neither yes nor no", "--tap", "tap0,router=maybe")
        self.refused("'ten' is no number", "--tap", "tap0,vlan=ten")
        self.refused("1 to 4094", "--tap", "tap0,vlan=0")
        self.refused("1 to 4094", "--tap", "tap0,trunk=1-99999999999")
        self.refused("leave it out of trunk", "--tap", "tap0,vlan=10,trunk=10")
        self.refused("not a link address", "--tap", "tap0,stations=here")
        self.refused(
            "bound to tap0", "--tap", "tap0,stations=02:00:00:00:00:01", "--tap", "tap1,stations=02:00:00:00:00:01"
        )
        self.refused("there is a port 'tap0' already", "--tap", "tap0", "--tap", "tap0")
        self.refused("10.0.0.300", "--tap", "tap0,address=10.0.0.300/24")
        self.refused("mtu", "--tap", "tap0,mtu=20")
        for seconds in "0", "-1", "soon", "nan":
            self.refused("--ageing", "--tap", "tap0", "--ageing", seconds)
        self.refused("--prometheus", "--tap", "tap0", "--prometheus", "nonsense")

    def test_interfacesOfOneNameInSeveralNamespacesAreAccepted(self) -> None:
        options = SwitchOptions()
        options.parseOptions(["--tap", "tap0,netns=blue", "--tap", "tap0,netns=red"])  # type: ignore[no-untyped-call]
        self.assertEqual([tap.name for tap in options.settings.taps], ["tap0@blue", "tap0@red"])

    def test_severalInterfacesThatTheKernelNamesAreAccepted(self) -> None:
        options = SwitchOptions()
        options.parseOptions(["--tap", "tap%d", "--tap", "tap%d"])  # type: ignore[no-untyped-call]
        self.assertEqual([tap.name for tap in options.settings.taps], [None, None])


class TunnelTests(SynchronousTestCase):
    def test_settingsOfPeerAndPortAreParsed(self) -> None:
        options = Options()
        value = "listen=tcp:4000,insecure,framing=qemu,allow=10.0.0.0/24,allow=fd00::/64,trunk=10+20,isolated,mtu=9000"
        options.parseOptions(["switch", "--tunnel", value])  # type: ignore[no-untyped-call]
        settings = options.settings
        assert isinstance(settings, SwitchServiceSettings)
        (tunnel,) = settings.tunnels
        self.assertEqual((tunnel.name, tunnel.mtu), ("tcp:4000", 9000))
        self.assertEqual(tunnel.port, SwitchPortSettings(trunk=[10, 20], isolated=True))
        assert isinstance(tunnel.peer, StreamPeerSettings) and tunnel.peer.allowed is not None
        for source, isAllowed in ("10.0.0.9", True), ("10.0.1.9", False), ("fd00::9", True), ("fd01::9", False):
            packet = udpPacket(source, source, 7, 7, b"")
            self.assertEqual(isAllowed, tunnel.peer.allowed.permitsPacket(packet), source)
        self.assertEqual(tunnel.peer.framing(TAP).offloads, 0)

    def test_allowRouterIsParsed(self) -> None:
        for more, isRouter in (",allow-router", True), ("", False):
            options = SwitchOptions()
            arguments = ["--tunnel", f"listen=unix:/run/tunnel,allow=::/0,allow-lladdr=02:00:00:00:00:02{more}"]
            options.parseOptions(arguments)  # type: ignore[no-untyped-call]
            (tunnel,) = options.settings.tunnels
            allowed = tunnel.peer.allowed
            assert allowed is not None
            self.assertEqual(isRouter, allowed.permitsRole(ADVERTISEMENT, 0, False))

    def test_wrongTunnelsAreRefused(self) -> None:
        for text, value in (
            ("others could read the packets", "listen=tcp:4000"),
            ("one of --listen", "vlan=10"),
            ("one of --listen", "listen=tcp:4000,connect=tcp:192.0.2.1:4000"),
            ("'netns=blue' is none of", "listen=unix:/run/tunnel,netns=blue"),
            ("'' is none of", ""),
            ("VLAN 10", "listen=unix:/run/tunnel,vlan=10,trunk=10"),
            ("a number from 68", "listen=unix:/run/tunnel,mtu=20"),
            ("insecure must not", "listen=tcp:4000,insecure=yes"),
            ("--allow-router", "listen=unix:/run/tunnel,allow-router"),
            ("--framing", "listen=tcp:4000,insecure,framing=socat"),
        ):
            with self.assertRaises(UsageError) as raised:
                SwitchOptions().parseOptions(["--tunnel", value])  # type: ignore[no-untyped-call]
            self.assertIn(text, str(raised.exception))
            self.assertTrue(str(raised.exception).startswith("--tunnel "), raised.exception)

    def test_twoTunnelsWithOneEndpointAreRefused(self) -> None:
        tunnel = ["--tunnel", "listen=unix:/run/tunnel"]
        self.assertRaises(UsageError, SwitchOptions().parseOptions, tunnel * 2)
