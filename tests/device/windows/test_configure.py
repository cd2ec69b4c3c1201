"""
Tests for the configuration of interfaces on Windows, over fakes of its DLL.
"""

from __future__ import annotations

import errno
import time
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from tests.device.turns import turn
from tests.device.windows.constants import NUMBERS
from tests.device.windows.iphlpapifake import INET, INET6
from tests.device.windows.overfakes import OverFakeWindows, overEachFake
from txtuntap.device.configure import Configured, configure, configureInterface, configureNow, move, moveInterface
from txtuntap.device.settings import InterfaceSettings


@attrs.define
class OpenDevice:
    """
    The attributes of an open device that a configuration uses.
    """

    name: str
    index: int = 0
    mtu: int = 1500
    linkAddress: bytes | None = None


@overEachFake(globals())
class ConfigureTests(OverFakeWindows):
    """
    Tests for C{configure} and its variants.
    """

    def setUp(self) -> None:
        super().setUp()
        self.tun = self.fake.add("txtuntap 0", "tun", mtu=65535)
        # A wait is a failure, where a test does not expect one.
        self.pauses: list[float] = []
        self.patch(time, "sleep", self.pauses.append)

    def mtus(self) -> tuple[int, int]:
        """
        The MTUs of the tun.
        """
        return self.fake.mtuOf(self.tun, INET), self.fake.mtuOf(self.tun, INET6)

    def test_aTunGetsAddressesMTUAndRoutes(self) -> None:
        made = configureInterface(
            "txtuntap 0",
            ["10.0.0.1/24", "fd00::1/64"],
            mtu=1400,
            routes=["10.1.0.0/16 via 10.0.0.2", "fd01::7/128", "0.0.0.0/0 metric 5", "10.2.0.0/16"],
        )
        self.assertEqual(("txtuntap 0", self.tun), (made.name, made.index))
        self.assertEqual(["10.0.0.1/24", "fd00::1/64"], self.fake.addressesOf(self.tun))
        self.assertEqual((1400, 1400), self.mtus())
        routes = [
            "10.1.0.0/16 via 10.0.0.2 metric 0",
            "fd01::7/128 via :: metric 0",
            "0.0.0.0/0 via 0.0.0.0 metric 5",
            "10.2.0.0/16 via 0.0.0.0 metric 0",
        ]
        self.assertEqual(routes, self.fake.routesOf(self.tun))
        self.assertEqual("set the IPv4 MTU of txtuntap 0 to 1400", made.changes[0])
        self.assertEqual(8, len(made.changes))
        self.assertEqual([], self.pauses)

    def test_configuringAgainChangesNothing(self) -> None:
        settings: dict[str, Any] = {"mtu": 1300, "routes": ["10.1.0.0/16 via 10.0.0.2", "10.2.0.1/32 metric 7"]}
        addresses = ["10.0.0.1/24", "10.5.0.1 peer 10.5.0.2/32", "fd00::1/64", "fe80::1/64"]
        configureInterface("txtuntap 0", addresses, **settings)
        self.fake.asked()
        self.fake.setElevated(False)
        again = configureInterface("TXTUNTAP 0", addresses, **settings)
        self.assertEqual(([], []), (again.changes, self.fake.asked()))

    def test_restoringUndoesEachChange(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1/24", "fd00::1/64"], mtu=9000, routes=["10.1.0.0/16"])
        made.restoreNow()
        self.assertEqual(([], []), (self.fake.addressesOf(self.tun), self.fake.routesOf(self.tun)))
        self.assertEqual((65535, 65535), self.mtus())

    def test_restoringSkipsWhatIsGone(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1/24"], mtu=9000)
        self.fake.fail("DeleteUnicastIpAddressEntry", NUMBERS["ERROR_NOT_FOUND"])
        made.restoreNow()
        self.assertEqual((65535, 65535), self.mtus())

    def test_restoringAfterTheInterfaceWasDeletedDoesNothing(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1/24"])
        self.fake.remove(self.tun)
        self.fake.asked()
        made.restoreNow()
        self.assertEqual([], self.fake.asked())

    def test_restoringReportsEachRefusedChange(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1/24", "fd00::1/64"], mtu=1400)
        for name in "SetIpInterfaceEntry", "DeleteUnicastIpAddressEntry":
            self.fake.fail(name, NUMBERS["ERROR_ACCESS_DENIED"])
        error = self.assertRaises(PermissionError, made.restoreNow)
        self.assertIn("undo this: add the address 10.0.0.1/24 to txtuntap 0", str(error))
        self.assertIn("undo this: set the IPv6 MTU of txtuntap 0 to 1400", str(error))

    def test_aPeerIsARoute(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1 peer 10.9.0.2/32", "fd00::1 peer fd05::/64"])
        self.assertEqual(["10.0.0.1/32", "fd00::1/128"], self.fake.addressesOf(self.tun))
        routes = ["10.9.0.2/32 via 0.0.0.0 metric 0", "fd05::/64 via :: metric 0"]
        self.assertEqual(routes, self.fake.routesOf(self.tun))
        made.restoreNow()
        self.assertEqual([], self.fake.routesOf(self.tun))

    def test_anAddressWithAnotherPrefixIsReplaced(self) -> None:
        configureInterface("txtuntap 0", ["10.0.0.1/24", "fd00::1/64"])
        made = configureInterface("txtuntap 0", ["10.0.0.1/16", "fd00::1/48"])
        self.assertEqual(["10.0.0.1/16", "fd00::1/48"], self.fake.addressesOf(self.tun))
        made.restoreNow()
        self.assertEqual(["10.0.0.1/24", "fd00::1/64"], sorted(self.fake.addressesOf(self.tun)))

    def test_aRouteWithAnotherMetricIsReplaced(self) -> None:
        configureInterface("txtuntap 0", ["10.0.0.1/24"], routes=["10.1.0.0/16 metric 5"])
        made = configureInterface("txtuntap 0", routes=["10.1.0.0/16 metric 6"])
        self.assertEqual(["10.1.0.0/16 via 0.0.0.0 metric 6"], self.fake.routesOf(self.tun))
        made.restoreNow()
        self.assertEqual(["10.1.0.0/16 via 0.0.0.0 metric 5"], self.fake.routesOf(self.tun))
        # A route without a metric is the one that is present.
        self.assertEqual([], configureInterface("txtuntap 0", routes=["10.1.0.0/16"]).changes)

    def test_theRouteOfAnAddressIsPresent(self) -> None:
        made = configureInterface("txtuntap 0", ["10.0.0.1/24"], routes=["10.0.0.0/24"])
        self.assertEqual(["add the address 10.0.0.1/24 to txtuntap 0"], made.changes)

    def test_routesThroughOtherInterfacesAreNoneOfThisOne(self) -> None:
        tap = self.fake.add("Ethernet 2", "tap")
        for name in "Ethernet 2", "txtuntap 0":
            configureInterface(name, routes=["10.1.0.0/16"])
        self.assertEqual(self.fake.routesOf(tap), self.fake.routesOf(self.tun))

    def test_anAddressOfAnotherInterfaceIsReported(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        configureInterface("Ethernet 2", ["10.0.0.1/24"])
        error = self.assertRaises(FileExistsError, configureInterface, "txtuntap 0", ["10.0.0.1/24"], mtu=1400)
        self.assertIn("cannot add the address 10.0.0.1/24 to txtuntap 0", str(error))
        self.assertIn("Ethernet 2 has this address: remove it there first", str(error))
        self.assertEqual((65535, 65535), self.mtus())

    def test_anAddressOfADisconnectedInterfaceIsReported(self) -> None:
        self.fake.fail("CreateUnicastIpAddressEntry", NUMBERS["ERROR_OBJECT_ALREADY_EXISTS"])
        error = self.assertRaises(FileExistsError, configureInterface, "txtuntap 0", ["10.0.0.1/24"])
        self.assertIn("an interface that is disconnected has this address", str(error))

    def test_aSmallMTUIsThatOfIPv4Alone(self) -> None:
        configureInterface("txtuntap 0", mtu=1000)
        self.assertEqual((1000, 65535), self.mtus())
        self.assertEqual([], configureInterface("txtuntap 0", mtu=1000).changes)

    def test_anMTUThatTheLinkDoesNotHaveIsReported(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        error = self.assertRaises(OSError, configureInterface, "Ethernet 2", mtu=9000)
        self.assertEqual(errno.EINVAL, error.errno)
        self.assertIn("cannot set the IPv4 MTU of Ethernet 2 to 9000", str(error))

    def test_anInterfaceOfOneFamilyGetsTheMTUOfThatOne(self) -> None:
        index = self.fake.add("four", "tun", (INET,), 2000)
        self.assertEqual(["set the IPv4 MTU of four to 1300"], configureInterface("four", mtu=1300).changes)
        self.assertEqual(1300, self.fake.mtuOf(index, INET))

    def test_aChangeWithoutPrivilegeSaysWhatToDo(self) -> None:
        self.fake.setElevated(False)
        for settings in {"mtu": 1400}, {"addresses": ["10.0.0.1/24"]}, {"routes": ["10.0.0.0/8"]}:
            error = self.assertRaises(PermissionError, configureInterface, "txtuntap 0", **settings)
            self.assertIn("run the program as administrator", str(error))

    def test_aRefusedChangeUndoesTheOthers(self) -> None:
        self.fake.fail("CreateIpForwardEntry2", NUMBERS["ERROR_INVALID_PARAMETER"])
        error = self.assertRaises(
            OSError, configureInterface, "txtuntap 0", ["10.0.0.1/24", "fd00::1/64"], mtu=1400, routes=["10.1.0.0/16"]
        )
        self.assertEqual(errno.EINVAL, error.errno)
        self.assertEqual(([], (65535, 65535)), (self.fake.addressesOf(self.tun), self.mtus()))

    def test_anInterfaceThatDoesNotExistIsReported(self) -> None:
        error = self.assertRaises(OSError, configureInterface, "txtuntap 77")
        self.assertEqual((errno.ENODEV, []), (error.errno, self.pauses))

    def test_theFamiliesOfANewAdapterAreWaitedFor(self) -> None:
        index = self.fake.add("new", "tun", ())
        # Each look happens after a pause.
        turns = iter((INET, INET6))
        self.patch(time, "sleep", lambda pause: self.fake.bind(index, next(turns)))
        configureInterface("new", ["10.0.0.1/24", "fd00::1/64"])
        self.assertEqual(["10.0.0.1/24", "fd00::1/64"], self.fake.addressesOf(index))

    def test_aFamilyThatDoesNotComeIsReported(self) -> None:
        self.fake.add("four", "tun", (INET,))
        self.fake.add("none", "tun", ())
        configureInterface("four", ["10.0.0.1/24"])
        for name, settings, version in ("four", {"routes": ["fd00::/64"]}, "IPv6"), ("none", {"mtu": 1400}, "IP"):
            self.pauses.clear()
            error = self.assertRaises(OSError, configureInterface, name, **settings)
            self.assertEqual(errno.EAFNOSUPPORT, error.errno)
            self.assertIn(f"{name} does not use {version}: enable it", str(error))
            self.assertAlmostEqual(5, sum(self.pauses))

    def test_waitingDoesNotBlockTheReactor(self) -> None:
        index = self.fake.add("new", "tun", ())
        clock = Clock()
        done = configure("new", InterfaceSettings(addresses=["10.0.0.1/24"]), None, clock)
        clock.pump([0.1] * 3)
        self.assertNoResult(done)
        self.fake.bind(index, INET)
        clock.pump([0.1] * 10)
        self.successResultOf(done)
        self.assertEqual([], self.pauses)

    def test_anOpenDeviceIsFoundByItsIndex(self) -> None:
        device: Any = OpenDevice("former name", self.tun)
        made = configureNow("another", InterfaceSettings(mtu=1300), device)
        self.assertEqual(("txtuntap 0", 1300, (1300, 1300)), (made.name, device.mtu, self.mtus()))
        gone: Any = OpenDevice("txtuntap 0", 99)
        self.assertEqual(errno.ENODEV, self.assertRaises(OSError, configureInterface, "txtuntap 0", device=gone).errno)

    def test_aDeviceWithoutAnIndexIsFoundByItsName(self) -> None:
        device: Any = OpenDevice("txtuntap 0")
        configureInterface("another", mtu=1300, device=device)
        self.assertEqual((1300, (1300, 1300)), (device.mtu, self.mtus()))

    def test_settingsThatWindowsLacksAreRefused(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        lacking: list[dict[str, Any]] = [
            {"txqueuelen": 5},
            {"owner": 5},
            {"group": 5},
            {"persistent": True},
            {"carrier": False},
            {"hardened": True},
            {"up": False},
            {"neighbours": {"10.0.0.2": "02:00:00:00:00:01"}},
            {"linkAddress": "02:00:00:00:00:77"},
            {"routes": ["10.0.0.0/8 src 10.0.0.1"]},
            {"routes": ["10.0.0.0/8 table 5"]},
            {"addresses": ["10.0.0.1/24 broadcast 10.0.0.254"]},
        ]
        for settings in lacking:
            error = self.assertRaises(OSError, configureInterface, "Ethernet 2", **settings)
            self.assertEqual(errno.ENOTSUP, error.errno, str(settings))
            self.assertRegex(str(error), "Ethernet 2: Windows has no setting for .*: leave (it|them) out")
        self.assertEqual([], self.fake.asked())

    def test_settingsThatWindowsHasAnywayAreTaken(self) -> None:
        index = self.fake.add("Ethernet 2", "tap")
        configureInterface(
            "Ethernet 2",
            ["10.0.0.1/24 broadcast 10.0.0.255"],
            persistent=False,
            carrier=True,
            linkAddress=bytes((2, 0, 0, 0, 0, index)),
        )
        self.assertEqual(["CreateUnicastIpAddressEntry"], self.fake.asked())

    def test_aDisabledAdapterIsReported(self) -> None:
        self.fake.setLink(self.tun, False, True)
        error = self.assertRaises(OSError, configureInterface, "txtuntap 0")
        self.assertIn("use 'netsh interface set interface \"txtuntap 0\" admin=enabled'", str(error))
        self.assertEqual([], configureInterface("txtuntap 0", up=False).changes)

    def test_namespacesAreRefused(self) -> None:
        clock = Clock()
        for call in (
            lambda: configureInterface("txtuntap 0", namespace="blue"),
            lambda: moveInterface("txtuntap 0", "blue"),
            lambda: self.failureResultOf(
                configure("txtuntap 0", InterfaceSettings(), None, clock, "blue")
            ).raiseException(),
        ):
            error = self.assertRaises(OSError, call)
            self.assertEqual(errno.ENOTSUP, error.errno)
            self.assertIn("Windows has no network namespaces", str(error))
        moved = move("txtuntap 0", "blue", clock)
        clock.advance(0)
        self.failureResultOf(moved, OSError)

    def test_configuringOnAReactorMakesAChangeInEachTurn(self) -> None:
        clock = Clock()
        done = configure("txtuntap 0", InterfaceSettings(addresses=["10.0.0.1/24"], mtu=1400), None, clock)
        turns = 0
        while not done.called:
            turn(clock)
            turns += 1
            self.assertLessEqual(len(self.fake.asked()), 1)
        made: Configured = self.successResultOf(done)
        self.assertEqual((3, True), (len(made.changes), turns > 3))
        restored = made.restore(clock)
        clock.pump([0] * 10)
        self.successResultOf(restored)
        self.assertEqual(((65535, 65535), []), (self.mtus(), self.fake.addressesOf(self.tun)))

    def test_cancellingUndoesTheChanges(self) -> None:
        for turns in range(5):
            clock = Clock()
            done = configure("txtuntap 0", InterfaceSettings(addresses=["10.0.0.1/24"], mtu=1400), None, clock)
            for _ in range(turns):
                turn(clock)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            clock.pump([0] * 20)
            self.assertEqual(((65535, 65535), []), (self.mtus(), self.fake.addressesOf(self.tun)))
            self.assertEqual([], clock.getDelayedCalls())
