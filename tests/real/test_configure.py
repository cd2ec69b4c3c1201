"""
Interfaces that are configured and read back. C{ip} shows the settings that txtuntap makes, and the other way round.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.conversation import resultOf
from tests.real.lab.link import show
from tests.real.lab.namespace import Namespace, interfaces, ip
from tests.real.lab.reactors import Run, descriptors, onEachReactor
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import Configured, configure, configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.configure import configuring
from txtuntap.device.linux.netlink import Conversation, askNow
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings
from txtuntap.device.state import read, readInterface, readInterfaces

Configure = Callable[..., Configured]


def waiting(name: str, device: LinuxDevice | None = None, **settings: Any) -> Configured:
    """
    Run L{configureInterface} on a reactor, and wait for its end.
    """
    reactor: Any = SelectReactor()
    try:
        done: Deferred[Configured] = configure(name, InterfaceSettings(**settings), device, reactor)
        configured = resultOf(done, lambda: reactor.iterate(0.005))
        assert isinstance(configured, Configured)
        return configured
    finally:
        reactor.waker.connectionLost(None)


BOTH = pytest.mark.parametrize("configured", [configureInterface, waiting], ids=["now", "reactor"])


def addresses(name: str) -> set[str]:
    """
    Return the addresses of an interface as C{ip} shows them, without those that the kernel adds by itself.
    """
    (found,) = json.loads(ip("-json", "address", "show", name))
    texts = set()
    for each in found["addr_info"]:
        text = f"{each['local']}/{each['prefixlen']}"
        text += f" peer {each['address']}" if "address" in each else ""
        text += f" brd {each['broadcast']}" if "broadcast" in each else ""
        if each["scope"] != "link":
            texts.add(text)
    return texts


def routes(name: str) -> set[str]:
    """
    Return the routes of an interface as C{ip} shows them, without those that the kernel adds with addresses.
    """
    found = json.loads(ip("-json", "route", "show", "dev", name))
    found += json.loads(ip("-json", "-6", "route", "show", "dev", name))
    return {
        f"{each['dst']} {each.get('gateway', '')} {each.get('metric', '')} {each.get('prefsrc', '')}".strip()
        for each in found
        if each.get("protocol") == "static"
    }


@BOTH
def test_ipShowsEverySetting(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP) as device:
        configured(
            "tt0",
            device=device,
            addresses=[
                "10.9.0.1/24",
                "fd09::1/64",
                InterfaceAddress("10.9.1.1/32", peer="10.9.1.2"),
                InterfaceAddress("10.9.2.1/24", broadcast="10.9.2.255"),
            ],
            routes=[
                "10.1.0.0/16",
                "10.2.0.0/16 via 10.9.0.2",
                "fd01::/64",
                "::/0 via fd09::2",
                InterfaceRoute("10.3.0.0/16", metric=7, source="10.9.0.1"),
            ],
            neighbours={"10.9.0.2": "02:00:00:00:00:02", "fd09::2": "02:00:00:00:00:02"},
            mtu=1400,
            linkAddress="02:00:00:00:00:09",
            txqueuelen=77,
            owner="nobody",
            group=12,
            persistent=True,
        )
        assert (device.mtu, device.linkAddress) == (1400, b"\x02\0\0\0\0\x09")
        link = show("tt0")
        data = link["linkinfo"]["info_data"]
        assert (link["mtu"], link["address"], link["txqlen"]) == (1400, "02:00:00:00:00:09", 77)
        assert "UP" in link["flags"]
        assert (data["user"], data["persist"]) == ("nobody", True)
        assert addresses("tt0") == {
            "10.9.0.1/24",
            "fd09::1/64",
            "10.9.1.1/32 peer 10.9.1.2",
            "10.9.2.1/24 brd 10.9.2.255",
        }
        assert routes("tt0") == {
            "10.1.0.0/16",
            "10.2.0.0/16 10.9.0.2",
            "fd01::/64  1024",
            "default fd09::2 1024",
            "10.3.0.0/16  7 10.9.0.1",
        }
        stations = {
            each["dst"]: each["lladdr"] for each in json.loads(ip("-json", "neigh")) if "PERMANENT" in each["state"]
        }
        assert stations == dict.fromkeys(("10.9.0.2", "fd09::2"), "02:00:00:00:00:02")
    assert "tt0" in interfaces()


@BOTH
def test_existingSettingsAreNotChanged(namespace: Namespace, configured: Configure) -> None:
    settings: dict[str, Any] = {
        "addresses": ["10.9.0.1/24", "fd09::1/64", InterfaceAddress("10.9.1.1/32", peer="10.9.1.2")],
        "routes": ["10.1.0.0/16", "10.2.0.0/16 via 10.9.0.2", "fd01::/64", "::/0 via fd09::2", "0.0.0.0/0"],
        "neighbours": {"10.9.0.2": "02:00:00:00:00:02"},
        "mtu": 1400,
        "owner": 65534,
    }
    with LinuxDevice("tt0", TAP) as device:
        assert len(configured("tt0", device=device, **settings).changes) == 12
        assert configured("tt0", device=device, **settings).changes == []


@BOTH
def test_additionalSettingsOfOthersAreNotChanged(namespace: Namespace, configured: Configure) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    ip("address", "add", "10.9.0.1/24", "brd", "+", "dev", "tt0")
    ip("link", "set", "tt0", "up")
    assert configured("tt0", addresses=["10.9.0.1/24"]).changes == []
    assert configured("tt0", addresses=[InterfaceAddress("10.9.0.1/24", broadcast="10.9.0.255")]).changes == []
    with pytest.raises(FileExistsError, match=r"10\.9\.0\.1/24"):
        configured("tt0", addresses=[InterfaceAddress("10.9.0.1/24", broadcast="10.9.0.127")])
    own = InterfaceAddress("10.9.1.1/32", peer="10.9.1.1")
    assert len(configured("tt0", addresses=[own]).changes) == 1
    assert configured("tt0", addresses=[own, "10.9.1.1/32"]).changes == []


@BOTH
def test_aRouteThatTheKernelAddsWithAnAddressIsNoFailure(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TUN):
        wanted: dict[str, Any] = {
            "addresses": ["10.9.0.1/24", "10.9.0.1/24", "fd09::1/64", "fd09::1/64"],
            "routes": ["10.9.0.0/24", "10.1.0.0/16", "10.1.0.0/16"],
        }
        done = configured("tt0", **wanted)
        assert done.changes == [
            "add the address 10.9.0.1/24 to tt0",
            "add the address fd09::1/64 to tt0",
            "set tt0 up",
            "add the route 10.1.0.0/16 through tt0",
        ]
        assert configured("tt0", **wanted).changes == []
        done.restoreNow()
        assert (addresses("tt0"), routes("tt0")) == (set(), set())


@BOTH
def test_aRouteWithAnotherGatewayIsAnotherRoute(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP), LinuxDevice("tt1", TAP):
        configured("tt0", addresses=["10.9.0.1/24"])
        configured("tt1", addresses=["10.9.1.1/24"])
        ip("route", "add", "10.1.0.0/16", "via", "inet6", "fe80::5", "dev", "tt0")
        ip("nexthop", "add", "id", "7", "dev", "tt0")
        ip("route", "add", "10.2.0.0/16", "nhid", "7")
        ip("route", "add", "10.3.0.0/16", "dev", "tt1")
        for network in "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16":
            with pytest.raises(FileExistsError, match=network):
                configured("tt0", routes=[network])
        assert len(configured("tt0", routes=[InterfaceRoute("10.1.0.0/16", metric=7)]).changes) == 1


@BOTH
def test_restoreUndoesAllChanges(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP):
        ip("address", "add", "10.9.7.1/24", "dev", "tt0")
        before = show("tt0")["address"], show("tt0")["mtu"]
        done = configured(
            "tt0",
            addresses=["10.9.7.1/24", "10.9.0.1/24", "fd09::1/64"],
            routes=["10.1.0.0/16"],
            mtu=1400,
            linkAddress="02:00:00:00:00:09",
        )
        assert addresses("tt0") == {"10.9.7.1/24", "10.9.0.1/24", "fd09::1/64"}
        done.restoreNow()
        assert addresses("tt0") == {"10.9.7.1/24"}
        assert routes("tt0") == set()
        assert (show("tt0")["address"], show("tt0")["mtu"]) == before
        assert "UP" not in show("tt0")["flags"]


@BOTH
def test_settingsLostWithASetDownLinkAreRestored(namespace: Namespace, configured: Configure) -> None:
    def there() -> tuple[set[str], set[str], set[str]]:
        others = ip("neighbour", "show", "dev", "tt0", "nud", "permanent") + ip("route", "show", "table", "1000")
        return addresses("tt0"), routes("tt0"), set(others.splitlines())

    with LinuxDevice("tt0", TAP):
        configured(
            "tt0",
            addresses=["10.9.0.1/24", "fd09::1/64", InterfaceAddress("fd09:1::1/128", peer="fd09:1::2")],
            routes=["10.1.0.0/16", "10.2.0.0/16 via 10.9.0.2", "fd01::/64", "::/0 via fd09::2"],
            neighbours={"10.9.0.2": "02:00:00:00:00:02", "fd09::2": "02:00:00:00:00:02"},
        )
        ip("route", "add", "10.3.0.0/16", "dev", "tt0", "table", "1000", "metric", "7")
        before = there()
        done = configured("tt0", up=False)
        assert done.changes == ["set tt0 down"]
        assert there() != before
        done.restoreNow()
        assert there() == before


@BOTH
def test_settingsOfALinkThatWasDownAreRestored(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP):
        ip("address", "add", "fd09::1/64", "dev", "tt0", "nodad")
        ip("address", "add", "10.9.0.1/24", "dev", "tt0")
        before = addresses("tt0"), routes("tt0")
        assert before[0] == {"10.9.0.1/24", "fd09::1/64"}
        configured("tt0", routes=["10.1.0.0/16"], up=True).restoreNow()
        assert (addresses("tt0"), routes("tt0")) == before


@BOTH
def test_aReplacedNeighbourIsRestored(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP):
        configured("tt0", addresses=["10.9.0.1/24"], neighbours={"10.9.0.2": "02:00:00:00:00:02"})
        neighbours = {"10.9.0.2": "02:00:00:00:00:03", "10.9.0.3": "02:00:00:00:00:03"}
        done = configured("tt0", neighbours=neighbours)
        assert "02:00:00:00:00:03" in ip("neighbour", "show", "10.9.0.2")
        done.restoreNow()
        assert "02:00:00:00:00:02 PERMANENT" in ip("neighbour", "show", "10.9.0.2")
        assert ip("neighbour", "show", "10.9.0.3") == ""


@BOTH
def test_anMTUThatEndsIPv6IsRefused(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TAP):
        configured("tt0", addresses=["10.9.0.1/24", "fd09::1/64"])
        with pytest.raises(
            ValueError, match="tt0: an MTU under 1280 disables IPv6: with 1279, it would lose fd09::1/64"
        ):
            configured("tt0", mtu=1279)
        assert addresses("tt0") == {"10.9.0.1/24", "fd09::1/64"}
        ip("address", "delete", "fd09::1/64", "dev", "tt0")
        done = configured("tt0", mtu=1279)
        done.restoreNow()
        assert "fe80:" in ip("address", "show", "tt0")


@BOTH
def test_aRefusedConfigurationLeavesNothing(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TUN):
        for settings, words in (
            ({"addresses": ["10.9.0.1/24"], "routes": ["10.1.0.0/16 via 192.0.2.1"]}, ["route 10.1.0.0/16", "gateway"]),
            ({"addresses": ["10.9.0.1/24"], "routes": [InterfaceRoute("10.1.0.0/16", source="192.0.2.1")]}, ["route"]),
            ({"addresses": ["10.9.0.1/24"], "mtu": 1400, "persistent": True}, ["persistent", "tt0"]),
        ):
            with pytest.raises(OSError) as raised:
                configured("tt0", **settings)
            for word in ["tt0", *words]:
                assert word in str(raised.value)
            assert addresses("tt0") == set()
            assert show("tt0")["mtu"] == 1500
            assert "UP" not in show("tt0")["flags"]


@BOTH
def test_wrongArgumentsAreRefused(namespace: Namespace, configured: Configure) -> None:
    with pytest.raises(OSError, match=r"cannot find tt9: .*[Nn]o such device"):
        configured("tt9", addresses=["10.9.0.1/24"])
    with LinuxDevice("tt0", TUN):
        with pytest.raises(ValueError, match="tt0 is a tun without link addresses"):
            configured("tt0", linkAddress="02:00:00:00:00:09")
        ip("link", "set", "tt0", "mtu", "1000")
        with pytest.raises(ValueError, match="tt0: an MTU under 1280 disables IPv6"):
            configured("tt0", addresses=["fd09::1/64"])
    with pytest.raises(ValueError, match="lo is not a TUN/TAP device: leave out owner"):
        configured("lo", owner=0)
    with pytest.raises(
        ValueError, match="tt7: an MTU under 1280 disables IPv6: with 1000, the interface cannot have fd09::1/64"
    ):
        configureInterface("tt7", ["fd09::1/64"], mtu=1000)


@BOTH
def test_anOpenDeviceNamesItsInterface(namespace: Namespace, configured: Configure) -> None:
    with LinuxDevice("tt0", TUN) as device, LinuxDevice("tt1", TUN):
        ip("link", "set", "tt0", "name", "tt2")
        ip("link", "set", "tt1", "name", "tt0")
        done = configured("tt0", device=device, addresses=["10.9.0.1/24"], mtu=1400, owner=7)
        assert (done.name, show("tt2")["mtu"], show("tt0")["mtu"]) == ("tt2", 1400, 1500)
        ip("link", "delete", "tt2")
        with pytest.raises(OSError, match="cannot find tt0: its interface was deleted"):
            configured("tt0", device=device, mtu=1300)
        assert show("tt0")["mtu"] == 1500


def test_anInterfaceMayVanishDuringConfiguration(namespace: Namespace) -> None:
    settings = InterfaceSettings(addresses=["10.9.0.1/24", "fd09::1/64"], routes=["10.1.0.0/16"], mtu=1400)

    def vanishing(after: int) -> Conversation[Any]:
        conversation = configuring("tt0", settings)
        changes = 0
        request = next(conversation)
        while True:
            if request is not None and request.verb == "new":
                changes += 1
                if changes == after:
                    ip("link", "delete", "tt0")
            try:
                answer = yield request
            except OSError as e:
                request = conversation.throw(e)
            else:
                try:
                    request = conversation.send(answer)
                except StopIteration as e:
                    return e.value

    for after in range(1, 6):
        ip("tuntap", "add", "mode", "tun", "name", "tt0")
        with pytest.raises(OSError, match=r"cannot .* tt0.*: ") as raised:
            askNow(vanishing(after))
        assert raised.value.errno == errno.ENODEV
        assert interfaces() == set()


@onEachReactor
async def test_aCancelledConfigurationIsUndone(run: Run) -> None:
    with LinuxDevice("tt0", TUN) as device:
        settings = InterfaceSettings(addresses=[f"10.9.{number}.1/24" for number in range(20)], mtu=1400)
        for turns in range(0, 60, 3):
            done = configure("tt0", settings, device, run.reactor)
            outcomes: list[object] = []
            done.addBoth(outcomes.append)
            for _ in range(turns):
                await deferLater(run.reactor, 0)
            done.cancel()
            if not isinstance(outcomes[0], Configured):
                assert isinstance(outcomes[0], Failure)
                outcomes[0].trap(CancelledError)
                await run.until(
                    lambda: not addresses("tt0") and show("tt0")["mtu"] == 1500, "the settings to be undone"
                )
                assert "UP" not in show("tt0")["flags"]
            else:
                await outcomes[0].restore(run.reactor)


def test_anInterruptedConfigurationIsUndone(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN):
        settings = InterfaceSettings(addresses=["10.9.0.1/24", "10.9.1.1/24"], mtu=1400)

        class Interrupted(socket.socket):
            left = 0

            def recv(self, *arguments: int) -> bytes:
                Interrupted.left -= 1
                if Interrupted.left == 0:
                    raise KeyboardInterrupt
                return super().recv(*arguments)

        for left in range(1, 8):
            Interrupted.left = left
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr("socket.socket", Interrupted)
                configureInterface("tt0", device=None, addresses=settings.addresses, mtu=settings.mtu)
            assert Interrupted.left <= 0
            assert addresses("tt0") == set()
            assert show("tt0")["mtu"] == 1500


def test_settingsMadeByIPAreRead(namespace: Namespace) -> None:
    for mode, kind in (TUN, "tun"), (TAP, "tap"):
        ip("tuntap", "add", "mode", kind, "name", "tt0", "user", "65534", "group", "12", "multi_queue")
        ip("link", "set", "tt0", "mtu", "1400", "txqueuelen", "77", "up")
        ip("address", "add", "10.9.0.1/24", "brd", "+", "dev", "tt0")
        ip("address", "add", "10.9.1.1", "peer", "10.9.1.2/32", "dev", "tt0")
        ip("address", "add", "fd09::1/64", "dev", "tt0", "nodad")
        state = readInterface("tt0")
        assert (state.name, state.kind, state.mtu, state.txqueuelen) == ("tt0", kind, 1400, 77)
        assert (state.index, state.owner, state.group) == (socket.if_nametoindex("tt0"), 65534, 12)
        assert (state.up, state.carrier, state.persistent, state.multiQueue) == (True, False, True, True)
        assert set(state.addresses) >= {
            InterfaceAddress("10.9.0.1/24", broadcast="10.9.0.255"),
            InterfaceAddress("10.9.1.1/32", peer="10.9.1.2"),
            InterfaceAddress("fd09::1/64"),
        }
        assert (state.linkAddress is None) == (mode == TUN)
        if state.linkAddress is not None:
            assert state.linkAddress.hex(":") == show("tt0")["address"]
        assert {each.name for each in readInterfaces()} == interfaces() | {"lo"}
        with LinuxDevice("tt0", mode):
            assert readInterface("tt0").carrier
        ip("link", "delete", "tt0")


def test_anInterfaceIsReadAsynchronously(namespace: Namespace) -> None:
    reactor: Any = SelectReactor()
    state = resultOf(read("lo", reactor), lambda: reactor.iterate(0.005))
    reactor.waker.connectionLost(None)
    assert (state.name, state.up, InterfaceAddress("127.0.0.1/8") in state.addresses) == ("lo", True, True)


def test_statisticsAreRead(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN) as device:
        configureInterface("tt0", ["10.9.0.1/24"])
        packet = bytes.fromhex("45000014000040004000") + bytes(10)
        before = readInterface("tt0").statistics["rx_packets"]
        for _ in range(3):
            device.send([packet])
        assert readInterface("tt0").statistics["rx_packets"] == before + 3


def test_aDeviceMadeWithMultiQueueIsOpened(namespace: Namespace) -> None:
    for mode, kind in (TUN, "tun"), (TAP, "tap"):
        ip("tuntap", "add", "mode", kind, "name", "tt0", "multi_queue")
        with LinuxDevice("tt0", mode) as one, LinuxDevice("tt0", mode, multiQueue=True) as other:
            assert one.name == other.name == "tt0"
        ip("link", "delete", "tt0")


def test_anExclusiveDeviceRefusesAnExistingName(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN, exclusive=True):
        other = LinuxDevice("tt0", TUN, exclusive=True)
        with pytest.raises(OSError, match="tt0"):
            other.open()


def test_aDescriptorOpenedElsewhereIsAdopted(namespace: Namespace) -> None:
    for mode in TUN, TAP:
        with LinuxDevice("tt0", mode) as first, LinuxDevice("", mode, descriptor=os.dup(first.fileno())) as adopted:
            assert (adopted.name, adopted.mode) == ("tt0", mode)
            first.close()
            assert "tt0" in interfaces()
        assert "tt0" not in interfaces()
        # This descriptor is not attached to a device yet.
        with LinuxDevice("tt1", mode, descriptor=os.open("/dev/net/tun", os.O_RDWR)) as device:
            assert device.name == "tt1"
            assert "tt1" in interfaces()
        with LinuxDevice("tt2", mode) as device:
            wrong = LinuxDevice("", TAP if mode == TUN else TUN, descriptor=os.dup(device.fileno()))
            with pytest.raises(OSError, match="give the mode or protocol of a"):
                wrong.open()


def held(run: Run) -> tuple[set[str], int]:
    """
    Return the descriptors and the reactor's readers, of which a request to the kernel must leave none.
    """
    return descriptors(), len(run.reactor.getReaders())


@onEachReactor
async def test_anInterfaceIsConfiguredAndUndoneOnARunningReactor(run: Run) -> None:
    settings = InterfaceSettings(
        addresses=["10.9.0.1/24", "fd09::1/64"],
        routes=["10.1.0.0/16", "10.2.0.0/16 via 10.9.0.2", "fd01::/64"],
        neighbours={"10.9.0.2": "02:00:00:00:00:02"},
        mtu=1400,
    )
    with LinuxDevice("tt0", TAP) as device:
        before = held(run)
        done = await configure("tt0", settings, device, run.reactor)
        assert addresses("tt0") == {"10.9.0.1/24", "fd09::1/64"}
        assert routes("tt0") == {"10.1.0.0/16", "10.2.0.0/16 10.9.0.2", "fd01::/64  1024"}
        assert (show("tt0")["mtu"], device.mtu) == (1400, 1400)
        assert "UP" in show("tt0")["flags"]
        assert len(done.changes) == 8
        assert (await configure("tt0", settings, device, run.reactor)).changes == []
        await done.restore(run.reactor)
        assert (addresses("tt0"), routes("tt0"), show("tt0")["mtu"]) == (set(), set(), 1500)
        assert "UP" not in show("tt0")["flags"]
        # Undoing a setting that is gone already is no failure.
        await done.restore(run.reactor)
        assert held(run) == before


@onEachReactor
async def test_aRefusalFailsTheDeferredAndLeavesNothing(run: Run) -> None:
    wanted: dict[str, Any] = {"addresses": ["10.9.0.1/24", "fd09::1/64"], "mtu": 1400}
    with LinuxDevice("tt0", TUN):
        before = held(run)
        for name, settings, words in (
            ("tt0", {**wanted, "routes": ["10.1.0.0/16", "10.2.0.0/16 via 192.0.2.1"]}, "route 10.2.0.0/16 .*tt0"),
            # Only a program that has the device open can set this.
            ("tt0", {**wanted, "persistent": True}, "persistent setting of tt0"),
            ("tt9", wanted, "cannot find tt9"),
        ):
            with pytest.raises(OSError, match=words):
                await configure(name, InterfaceSettings(**settings), reactor=run.reactor)
            assert (addresses("tt0"), routes("tt0"), show("tt0")["mtu"]) == (set(), set(), 1500)
            assert "UP" not in show("tt0")["flags"]
            assert held(run) == before
        ip("link", "set", "tt0", "mtu", "1000")
        with pytest.raises(ValueError, match="tt0: an MTU under 1280"):
            await configure("tt0", InterfaceSettings(addresses=["fd09::1/64"]), reactor=run.reactor)
        assert held(run) == before


@onEachReactor
async def test_theInstalledReactorIsTheDefault(run: Run) -> None:
    with LinuxDevice("tt0", TUN):
        done = await configure("tt0", InterfaceSettings(addresses=["10.9.0.1/24"]))
        assert (await read("tt0")).addresses[0] == InterfaceAddress("10.9.0.1/24")
        await done.restore()
        assert addresses("tt0") == set()


@onEachReactor
async def test_severalInterfacesAreConfiguredAtOnce(run: Run) -> None:
    with LinuxDevice("tt0", TUN), LinuxDevice("tt1", TAP), LinuxDevice("tt2", TUN):
        before = held(run)
        under = []
        for number in range(3):
            settings = InterfaceSettings(addresses=[f"10.9.{number}.1/24"], routes=[f"10.{number}.0.0/16"])
            under.append(configure(f"tt{number}", settings, reactor=run.reactor))
        for number, done in enumerate(under):
            assert (await done).name == f"tt{number}"
            assert (addresses(f"tt{number}"), routes(f"tt{number}")) == (
                {f"10.9.{number}.1/24"},
                {f"10.{number}.0.0/16"},
            )
        assert held(run) == before


@onEachReactor
async def test_settingsMadeByIPAreReadOnARunningReactor(run: Run) -> None:
    for mode, kind in (TUN, "tun"), (TAP, "tap"):
        ip("tuntap", "add", "mode", kind, "name", "tt0", "user", "65534", "multi_queue")
        ip("link", "set", "tt0", "mtu", "1400", "txqueuelen", "77", "up")
        ip("address", "add", "10.9.0.1/24", "dev", "tt0")
        ip("address", "add", "fd09::1/64", "dev", "tt0", "nodad")
        before = held(run)
        state = await read("tt0", run.reactor)
        assert (state.name, state.kind, state.mtu, state.txqueuelen, state.owner) == ("tt0", kind, 1400, 77, 65534)
        assert (state.up, state.carrier, state.persistent, state.multiQueue) == (True, False, True, True)
        assert set(state.addresses) >= {InterfaceAddress("10.9.0.1/24"), InterfaceAddress("fd09::1/64")}
        with LinuxDevice("tt0", mode):
            assert (await read("tt0", run.reactor)).carrier
        ip("link", "delete", "tt0")
        with pytest.raises(OSError, match="cannot find tt0"):
            await read("tt0", run.reactor)
        assert held(run) == before


def test_aDescriptorOfNoDeviceIsRefused(namespace: Namespace) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    for words in (
        "TUNSETIFF: the descriptor is not one of /dev/net/tun",
        f"this process has no descriptor {reading}: Bad file",
    ):
        with pytest.raises(OSError, match=words):
            # The first attempt closes the descriptor, which belongs to the device.
            LinuxDevice("tt0", TUN, descriptor=reading).open()
