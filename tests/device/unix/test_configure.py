"""
Tests for the configuration of interfaces on macOS and the BSDs, over fakes of their kernels.
"""

from __future__ import annotations

import errno
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from tests.device.turns import turn
from tests.device.unix.platforms import OverFakeKernel, onEachPlatform
from tests.device.unix.routesockets import Link
from txtuntap.device.configure import Configured, configure, configureInterface, move, moveInterface
from txtuntap.device.settings import InterfaceSettings


@attrs.define
class OpenDevice:
    """
    The attributes of an open device that a configuration uses.
    """

    name: str
    mtu: int = 1500
    linkAddress: bytes | None = None

    def fileno(self) -> int:
        return 0


def addressesOf(link: Link) -> list[tuple[str, str]]:
    """
    The addresses of an interface of the fake, each with its destination or broadcast address.
    """
    return [(str(each.own), each.other) for each in link.addresses]


@onEachPlatform(globals())
class ConfigureTests(OverFakeKernel):
    """
    Tests for C{configure} and its variants.
    """

    def static(self, index: int) -> dict[str, tuple[str, str]]:
        """
        The gateway and the source address of each route that a program has added through an interface.
        """
        static = self.fake.numbers["RTF_STATIC"]
        found = [each for each in self.fake.routes if each.index == index and each.flags & static]
        return {str(each.network): (each.gateway, each.source) for each in found}

    def byLink(self, own: str) -> tuple[str, str]:
        """
        The gateway of a route that has none: on OpenBSD, it is an address of the interface.
        """
        return (own if self.platform == "openbsd" else "", "")

    def test_aTunGetsAddressesMTUAndRoutes(self) -> None:
        tun = self.fake.addTun()
        configureInterface(
            tun.name, ["10.0.0.1/24", "fd00::1/64"], mtu=1400, routes=["10.1.0.0/16 via 10.0.0.2", "fd01::7/128"]
        )
        # The kernel refuses an IPv4 address without a destination on a point-to-point link.
        self.assertEqual([("10.0.0.1/24", "10.0.0.1"), ("fd00::1/64", "")], addressesOf(tun))
        self.assertEqual((1400, 1), (tun.mtu, tun.flags & 1))
        routes = {
            "10.0.0.0/24": self.byLink("10.0.0.1"),
            "10.1.0.0/16": ("10.0.0.2", ""),
            "fd01::7/128": self.byLink("fd00::1"),
        }
        self.assertEqual(routes, self.static(tun.index))

    def test_configuringAgainChangesNothing(self) -> None:
        tun = self.fake.addTun()
        settings: dict[str, Any] = {"mtu": 1300, "routes": ["10.1.0.0/16 via 10.0.0.2", "10.2.0.1/32"]}
        addresses = ["10.0.0.1/24", "10.5.0.1 peer 10.5.0.2/32", "fd00::1/64", "fe80::1/64"]
        configureInterface(tun.name, addresses, **settings)
        self.fake.asked.clear()
        self.fake.isRoot = False
        again = configureInterface(tun.name, addresses, **settings)
        self.assertEqual(([], []), (again.changes, self.fake.asked))

    def test_restoringUndoesEachChange(self) -> None:
        tap = self.fake.addTap()
        mac = None if self.platform == "netbsd" else "02:00:00:00:00:bb"
        made = configureInterface(
            tap.name, ["10.0.0.1/24", "fd00::1/64"], mtu=9000, routes=["10.1.0.0/16"], linkAddress=mac
        )
        self.assertEqual(tap.hardware[-1], 0xBB if mac else 0xAA)
        made.restoreNow()
        self.assertEqual(([], []), (tap.addresses, self.fake.routes))
        self.assertEqual((1500, 0, bytes.fromhex("0200000000aa")), (tap.mtu, tap.flags & 1, tap.hardware))

    def test_restoringAfterTheInterfaceWasDeletedDoesNothing(self) -> None:
        made = configureInterface(self.fake.addTun().name, ["10.0.0.1/24"])
        self.fake.remove(made.name)
        self.fake.asked.clear()
        made.restoreNow()
        self.assertEqual([], self.fake.asked)

    def test_restoringReportsEachRefusedChange(self) -> None:
        made = configureInterface(self.fake.addTun().name, ["10.0.0.1/24"], mtu=1400)
        self.fake.failures = {"RTM_DELETE": errno.EPERM, "SIOCSIFMTU": errno.EINVAL}
        error = self.assertRaises(OSError, made.restoreNow)
        self.assertIn("undo this: add the route 10.0.0.0/24", str(error))
        self.assertIn(f"undo this: set the MTU of {made.name} to 1400", str(error))
        self.assertEqual(0, self.fake.links[made.name].flags & 1)

    def test_aTapGetsABroadcastAddressAndNoRoute(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24", "10.3.0.1/24 broadcast 10.3.0.254", "fd00::1/64"])
        expected = [("10.0.0.1/24", "10.0.0.255"), ("10.3.0.1/24", "10.3.0.254"), ("fd00::1/64", "")]
        self.assertEqual(expected, addressesOf(tap))
        self.assertEqual({}, self.static(tap.index))

    def test_aPeerIsTheDestinationOfAnAddress(self) -> None:
        tun = self.fake.addTun()
        configureInterface(tun.name, ["10.0.0.1 peer 10.9.0.2/32", "10.4.0.1 peer 10.8.0.2/24", "fd00::1 peer fd00::2"])
        expected = [("10.0.0.1/32", "10.9.0.2"), ("10.4.0.1/24", "10.8.0.2"), ("fd00::1/128", "fd00::2")]
        self.assertEqual(expected, addressesOf(tun))
        # The kernel has routes to the peers already.
        self.assertEqual(["10.8.0.0/24"], list(self.static(tun.index)))

    def test_addressesThatDoNotSuitTheLinkAreRefused(self) -> None:
        tun, tap = self.fake.addTun().name, self.fake.addTap().name
        for name, address, text in (
            (tap, "10.0.0.1 peer 10.0.0.2", "is no point-to-point link"),
            (tun, "10.0.0.1/24 broadcast 10.0.0.255", "is a point-to-point link"),
            (tun, "fd00::1 peer fd00::2/64", "has the prefix length 128"),
        ):
            error = self.assertRaises(ValueError, configureInterface, name, [address])
            self.assertIn(text, str(error))
        self.assertEqual([], self.fake.asked)

    def test_aSmallMTUIsRefusedWithIPv6(self) -> None:
        tun = self.fake.addTun()
        configureInterface(tun.name, ["fd00::1/64"])
        error = self.assertRaises(ValueError, configureInterface, tun.name, mtu=1000)
        self.assertIn("it would lose fd00::1/64", str(error))

    def test_anAddressWithAnotherPrefixIsReplaced(self) -> None:
        for name in self.fake.addTun().name, self.fake.addTap().name:
            configureInterface(name, ["10.0.0.1/24", "fd00::1/64"])
            made = configureInterface(name, ["10.0.0.1/16", "fd00::1/48"])
            lengths = [each.own.network.prefixlen for each in self.fake.links[name].addresses]
            self.assertEqual([16, 48], lengths)
            made.restoreNow()
            owns = sorted(str(each.own) for each in self.fake.links[name].addresses)
            self.assertEqual(["10.0.0.1/24", "fd00::1/64"], owns)
            self.fake.remove(name)

    def test_otherFlagsOfALinkAreKept(self) -> None:
        tap = self.fake.addTap()
        flags = tap.flags
        configureInterface(tap.name)
        self.assertEqual(flags | 1, tap.flags)
        configureInterface(tap.name, up=False)
        self.assertEqual(flags, tap.flags)

    def test_routesAreAddedAgainAfterTheLinkWasDown(self) -> None:
        tun, tap = self.fake.addTun(), self.fake.addTap()
        configureInterface(tap.name, ["10.5.0.1/24"], routes=["10.6.0.0/16"])
        routes = ["10.1.0.0/16 via 10.0.0.2", "10.2.0.0/16", "10.3.0.1/32", "::/0 via fe80::2", "fd00:1::1/128"]
        configureInterface(tun.name, ["10.0.0.1/24", "fd00::1/64"], routes=routes)
        before = self.static(tun.index)
        self.assertEqual(6, len(before))
        down = configureInterface(tun.name, up=False)
        self.assertEqual(self.platform != "freebsd", bool(self.static(tun.index)))
        self.fake.asked.clear()
        down.restoreNow()
        self.assertEqual((before, 1), (self.static(tun.index), tun.flags & 1))
        self.assertEqual(["10.6.0.0/16"], list(self.static(tap.index)))

    def test_noRouteIsAddedWhileTheLinkIsDown(self) -> None:
        tun = self.fake.addTun()
        configureInterface(tun.name, ["10.0.0.1/24"], up=False)
        self.assertEqual({}, self.static(tun.index))

    def test_routesHaveASource(self) -> None:
        tun = self.fake.addTun()
        configureInterface(tun.name, ["10.0.0.1/32", "10.0.0.5/32"], routes=["0.0.0.0/0 via 10.0.0.9 src 10.0.0.5"])
        self.assertEqual({"0.0.0.0/0": ("10.0.0.9", "10.0.0.5")}, self.static(tun.index))

    def test_aLinkLocalGatewayHasItsScope(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, ["fe80::1/64"], routes=["::/0 via fe80::2"])
        self.assertEqual({"::/0": ("fe80::2", "")}, self.static(tap.index))
        self.assertEqual("fe80::1/64", str(tap.addresses[0].own))

    def test_anotherRouteToTheSameNetworkIsReported(self) -> None:
        tun, tap = self.fake.addTun(), self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"], routes=["10.1.0.0/16 via 10.0.0.2"])
        for route in "10.1.0.0/16", "10.1.0.0/16 via 10.9.0.1":
            error = self.assertRaises(
                FileExistsError, configureInterface, tun.name, ["10.9.0.1/32"], mtu=1400, routes=[route]
            )
            self.assertIn("delete that first", str(error))
            # The changes before were undone.
            self.assertEqual((1500, 0, []), (tun.mtu, tun.flags & 1, tun.addresses))

    def test_aRouteByAGatewayIsNoRouteByLink(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"], routes=["10.1.0.0/16", "10.2.0.0/16 via 10.0.0.2"])
        for route in "10.1.0.0/16 via 10.0.0.2", "10.2.0.0/16", "10.2.0.0/16 via 10.0.0.3":
            self.assertRaises(FileExistsError, configureInterface, tap.name, routes=[route])

    def test_aRouteThroughAnotherInterfaceIsAnotherRoute(self) -> None:
        tun, tap = self.fake.addTun(), self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"], routes=["10.1.0.0/16"])
        self.assertRaises(FileExistsError, configureInterface, tun.name, ["10.9.0.1/32"], routes=["10.1.0.0/16"])

    def test_anAnswerAboutALargerNetworkIsNotBelieved(self) -> None:
        real = self.fake._answer
        self.patch(self.fake, "_answer", lambda network, isExact, values: real(network, False, values))
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"], routes=["10.0.0.0/8"])
        self.assertEqual(1, len(configureInterface(tap.name, routes=["10.0.0.0/16"]).changes))

    def test_aRouteToALargerNetworkIsNoRouteToAHost(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"], routes=["10.1.0.0/16"])
        for route in "10.0.0.0/8", "10.1.0.0/24", "10.1.0.0/32":
            self.assertEqual(1, len(configureInterface(tap.name, routes=[route]).changes), route)

    def test_aRouteByLinkNeedsAnAddressOnOpenBSD(self) -> None:
        name = self.fake.addTun().name
        if self.platform == "openbsd":
            error = self.assertRaises(ValueError, configureInterface, name, ["10.0.0.1/32"], routes=["fd00::/64"])
            self.assertIn("needs an IPv6 address on OpenBSD", str(error))
        else:
            configureInterface(name, ["10.0.0.1/32"], routes=["fd00::/64"])

    def test_aChangeWithoutPrivilegeSaysWhatToDo(self) -> None:
        tun = self.fake.addTun()
        self.fake.isRoot = False
        error = self.assertRaises(PermissionError, configureInterface, tun.name, ["10.0.0.1/24"])
        self.assertIn(f"cannot add the address 10.0.0.1/24 to {tun.name}", str(error))
        self.assertIn("run as root", str(error))

    def test_aRefusedChangeUndoesTheOthers(self) -> None:
        for call in "SIOCSIFFLAGS", "SIOCAIFADDR_IN6", "RTM_ADD":
            tap = self.fake.addTap()
            self.fake.failures = {call: errno.EINVAL}
            error = self.assertRaises(
                OSError, configureInterface, tap.name, ["10.0.0.1/24", "fd00::1/64"], mtu=1400, routes=["10.1.0.0/16"]
            )
            self.assertEqual(errno.EINVAL, error.errno)
            self.assertEqual(([], 1500, []), (tap.addresses, tap.mtu, self.fake.routes))
            self.fake.remove(tap.name)

    def test_anInterfaceThatDoesNotExistIsReported(self) -> None:
        error = self.assertRaises(OSError, configureInterface, "tun77")
        self.assertEqual(errno.ENODEV, error.errno)

    def test_settingsThatThePlatformLacksAreRefused(self) -> None:
        name = self.fake.addTap().name
        lacking: list[dict[str, Any]] = [
            {"txqueuelen": 5},
            {"owner": 5},
            {"group": 5},
            {"persistent": True},
            {"carrier": False},
            {"hardened": True},
            {"neighbours": {"10.0.0.2": "02:00:00:00:00:01"}},
            {"routes": ["10.0.0.0/8 metric 5"]},
            {"routes": ["10.0.0.0/8 table 5"]},
        ]
        if self.platform == "netbsd":
            lacking.append({"linkAddress": "02:00:00:00:00:01"})
        for settings in lacking:
            error = self.assertRaises(OSError, configureInterface, name, **settings)
            self.assertEqual(errno.ENOTSUP, error.errno, str(settings))
            self.assertRegex(str(error), "(macOS|FreeBSD|NetBSD|OpenBSD) has no setting for .*: leave (it|them) out")
        self.assertEqual([], self.fake.asked)

    def test_settingsThatThePlatformHasAnywayAreTaken(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, persistent=False, carrier=True, linkAddress=tap.hardware)
        self.assertEqual(["SIOCSIFFLAGS"], self.fake.asked)

    def test_namespacesAreRefused(self) -> None:
        name = self.fake.addTun().name
        for call in (
            lambda: configureInterface(name, namespace="blue"),
            lambda: moveInterface(name, "blue"),
            lambda: self.failureResultOf(configure(name, InterfaceSettings(), None, Clock(), "blue")).raiseException(),
        ):
            error = self.assertRaises(OSError, call)
            self.assertEqual(errno.ENOTSUP, error.errno)
            self.assertIn("has no network namespaces", str(error))
        clock = Clock()
        moved = move(name, "blue", clock)
        clock.advance(0)
        self.failureResultOf(moved, OSError)

    def test_configuringOnAReactorMakesAChangeInEachTurn(self) -> None:
        clock, tun = Clock(), self.fake.addTun()
        done = configure(tun.name, InterfaceSettings(addresses=["10.0.0.1/24"], mtu=1400), None, clock)
        turns = 0
        while not done.called:
            before = len(self.fake.asked)
            turn(clock)
            turns += 1
            self.assertLessEqual(len(self.fake.asked) - before, 1)
        made: Configured = self.successResultOf(done)
        self.assertEqual(4, len(made.changes))
        self.assertGreater(turns, 4)
        restored = made.restore(clock)
        clock.pump([0] * 10)
        self.successResultOf(restored)
        self.assertEqual((1500, []), (tun.mtu, tun.addresses))

    def test_cancellingUndoesTheChanges(self) -> None:
        for turns in range(1, 6):
            clock, tun = Clock(), self.fake.addTun()
            done = configure(tun.name, InterfaceSettings(addresses=["10.0.0.1/24"], mtu=1400), None, clock)
            for _ in range(turns):
                turn(clock)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            clock.pump([0] * 20)
            self.assertEqual((1500, 0, [], []), (tun.mtu, tun.flags & 1, tun.addresses, self.fake.routes))
            self.assertEqual([], clock.getDelayedCalls())
            self.fake.remove(tun.name)

    def test_anOpenDeviceLearnsItsMTU(self) -> None:
        tun = self.fake.addTun()
        device: Any = OpenDevice(tun.name)
        configureInterface("another", mtu=1300, device=device)
        self.assertEqual((1300, 1300), (tun.mtu, device.mtu))

    def test_IPv6IsEnabledOnFreeBSD(self) -> None:
        tap = self.fake.addTap()
        if self.platform == "freebsd":
            made = configureInterface(tap.name, ["fd00::1/64"])
            self.assertEqual(0x20, tap.neighbourFlags)
            made.restoreNow()
            self.assertEqual(0x28, tap.neighbourFlags)

    def test_theSilentRoutingSocketIsReported(self) -> None:
        tun = self.fake.addTun()
        self.patch(self.fake, "_answer", lambda *ignored: None)
        error = self.assertRaises(OSError, configureInterface, tun.name, ["10.0.0.1/32"], routes=["10.0.0.0/8"])
        self.assertEqual(errno.EIO, error.errno)
