"""
A fake of C{iphlpapi.dll} in Python, at the seam of its functions. It takes its numbers from C{constants.py} and never
from the package. It cannot show what Windows does beyond its documentation and headers.

The fake DLL in C{tests/windows/fakes} does the same. L{tests.device.windows.iphlpapidll} controls it by the same
methods.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread, current_thread
from typing import Any

import attrs

from tests.device.windows.constants import FIELDS, NUMBERS, SIZES

INET, INET6 = NUMBERS["AF_INET"], NUMBERS["AF_INET6"]

#: The families of the fake's new interfaces.
BOTH = (INET, INET6)

_NO_ERROR = 0
_DENIED = NUMBERS["ERROR_ACCESS_DENIED"]
_INVALID = NUMBERS["ERROR_INVALID_PARAMETER"]
_NOT_FOUND = NUMBERS["ERROR_NOT_FOUND"]
_EXISTS = NUMBERS["ERROR_OBJECT_ALREADY_EXISTS"]

#: The lifetime of an object that stays.
_FOR_EVER = 0xFFFFFFFF

#: The length of a prefix that Windows gives for IPv4, and does not take.
_SITE_PREFIX = 64

#: The link of each kind of interface.
LINKS = {
    # The type of an interface, its medium, its description, and the number of octets in its link address.
    "tap": ("IF_TYPE_ETHERNET_CSMACD", "NdisMedium802_3", "TAP-Windows Adapter V9 #2", 6),
    "tun": ("IF_TYPE_PROP_VIRTUAL", "NdisMediumIP", "Wintun Userspace Tunnel", 0),
    "ethernet": ("IF_TYPE_ETHERNET_CSMACD", "NdisMedium802_3", "Intel(R) Ethernet Connection", 6),
    "loopback": ("IF_TYPE_SOFTWARE_LOOPBACK", "NdisMedium802_3", "Software Loopback Interface 1", 0),
}

_IP = IPv4Address | IPv6Address


class Row:
    """
    The octets of a structure, with its fields by name.
    """

    def __init__(self, structure: str, data: bytes | None = None) -> None:
        self._fields = FIELDS[structure]
        self.data = bytearray(SIZES[structure] if data is None else data)
        assert len(self.data) == SIZES[structure]

    def __getitem__(self, name: str) -> int:
        return int.from_bytes(self.octets(name), "little")

    def __setitem__(self, name: str, value: int | bytes) -> None:
        position, size = self._fields[name]
        octets = value.to_bytes(size, "little") if isinstance(value, int) else value.ljust(size, b"\0")
        assert len(octets) == size, name
        self.data[position : position + size] = octets

    def octets(self, name: str) -> bytes:
        """
        The octets of a field.
        """
        position, size = self._fields[name]
        return bytes(self.data[position : position + size])


def row(structure: str, **fields: int | bytes) -> Row:
    """
    Make the octets of a structure from its fields.
    """
    made = Row(structure)
    for name, value in fields.items():
        made[name] = value
    return made


def socketAddress(ip: _IP) -> bytes:
    """
    Make the octets of an address.
    """
    name, family = ("sin_addr", INET) if ip.version == 4 else ("sin6_addr", INET6)
    return bytes(row("SOCKADDR_INET", si_family=family, **{name: ip.packed}).data)


def addressIn(octets: bytes) -> _IP | None:
    """
    Parse the octets of an address; L{None}: it has another family.
    """
    address = Row("SOCKADDR_INET", octets)
    name = {INET: "sin_addr", INET6: "sin6_addr"}.get(address["si_family"])
    return None if name is None else ip_address(address.octets(name))


@attrs.define
class Interface:
    """
    One interface of the fake.

    @ivar mtus: the MTU for each address family that uses the interface.
    """

    index: int
    name: str
    kind: str
    mtu: int
    mtus: dict[int, int]
    isUp: bool = True
    isConnected: bool = True

    def row(self) -> bytes:
        """
        Make the row of the interface.
        """
        kind, medium, description, length = LINKS[self.kind]
        # The numbers of packets differ, so that a test notices two that were exchanged.
        numbers = {name: 1000 + self.index + place for place, name in enumerate(_COUNTERS)}
        made = row(
            "MIB_IF_ROW2",
            InterfaceIndex=self.index,
            Alias=self.name.encode("utf-16-le"),
            Description=description.encode("utf-16-le"),
            PhysicalAddressLength=length,
            PhysicalAddress=bytes((2, 0, 0, 0, 0, self.index))[:length],
            Mtu=self.mtu,
            Type=NUMBERS[kind],
            MediaType=NUMBERS[medium],
            OperStatus=1 if self.isUp and self.isConnected else 2,
            AdminStatus=1 if self.isUp else 2,
            **numbers,
        )
        return bytes(made.data)


_COUNTERS = [name for name in FIELDS["MIB_IF_ROW2"] if name.startswith(("In", "Out")) and name[:9] != "Interface"]


@attrs.frozen
class Route:
    """
    One route of the fake.

    @ivar isOwn: whether a program has added the route, and not the fake for an address.
    """

    index: int
    network: IPv4Network | IPv6Network
    gateway: _IP
    metric: int
    isOwn: bool


@attrs.define
class Registration:
    """
    One registration for notifications.

    @ivar threads: the threads on which the callback is called.
    """

    name: str
    callback: Callable[[Any, Any, int], None]
    threads: list[Thread]


class FakeIphlpapi:
    """
    The functions of the DLL under their own names, and the methods by which a test plays Windows.
    """

    def __init__(self) -> None:
        self._interfaces: dict[int, Interface] = {}
        self._addresses: list[tuple[int, _IP, int]] = []
        self._routes: list[Route] = []
        self._failures: dict[str, int] = {}
        self._pokes: dict[str, list[tuple[int, bytes]]] = {}
        self._absent: set[str] = set()
        self._asked: list[str] = []
        self._tables: dict[int, Any] = {}
        self._registrations: dict[int, Registration] = {}
        self._handles = 0
        self._isElevated = True

    # Controls of a test

    def add(self, name: str, kind: str, families: tuple[int, ...] = BOTH, mtu: int = 1500) -> int:
        """
        Add an interface, and return its index.

        @param mtu: the MTU of the link, and that of each family.
        """
        index = max(self._interfaces, default=0) + 1
        self._interfaces[index] = Interface(index, name, kind, mtu, dict.fromkeys(families, mtu))
        self._tell("NotifyIpInterfaceChange")
        return index

    def remove(self, index: int) -> None:
        """
        Remove an interface, with its addresses and routes.
        """
        del self._interfaces[index]
        self._addresses = [each for each in self._addresses if each[0] != index]
        self._routes = [each for each in self._routes if each.index != index]
        self._tell("NotifyIpInterfaceChange")

    def bind(self, index: int, family: int) -> None:
        """
        Let an address family use an interface.
        """
        self._interfaces[index].mtus[family] = self._interfaces[index].mtu
        self._tell("NotifyIpInterfaceChange")

    def rename(self, index: int, name: str) -> None:
        """
        Give an interface another name. Windows notifies nobody of this.
        """
        self._interfaces[index].name = name

    def setLink(self, index: int, isUp: bool, isConnected: bool) -> None:
        """
        Enable or disable an interface, and connect or disconnect its link.
        """
        self._interfaces[index].isUp, self._interfaces[index].isConnected = isUp, isConnected
        self._tell("NotifyIpInterfaceChange")

    def setElevated(self, isElevated: bool) -> None:
        """
        Give or take the privilege to change anything.
        """
        self._isElevated = isElevated

    def fail(self, function: str, code: int) -> None:
        """
        Let a function fail with an error number; 0: let it succeed again.
        """
        self._failures[function] = code

    def poke(self, function: str, position: int, octets: bytes) -> None:
        """
        Change octets of each table that a function hands over.
        """
        self._pokes.setdefault(function, []).append((position, octets))

    def withhold(self, function: str) -> None:
        """
        Let a function succeed, and hand over no table and no handle.
        """
        self._absent.add(function)

    def tell(self) -> None:
        """
        Notify all callbacks, though nothing has changed.
        """
        for name in "NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange":
            self._tell(name)

    def settle(self) -> None:
        """
        Wait until all callbacks have returned.
        """
        for registration in self._registrations.values():
            for thread in registration.threads:
                thread.join()

    # Questions of a test

    def asked(self) -> list[str]:
        """
        The names of the functions that were asked for a change since the last call.
        """
        asked, self._asked = self._asked, []
        return asked

    def addressesOf(self, index: int) -> list[str]:
        """
        The addresses of an interface, with their prefix lengths.
        """
        return [f"{ip}/{length}" for each, ip, length in self._addresses if each == index]

    def routesOf(self, index: int) -> list[str]:
        """
        The routes through an interface that a program has added.
        """
        own = [each for each in self._routes if each.index == index and each.isOwn]
        return [f"{each.network} via {each.gateway} metric {each.metric}" for each in own]

    def mtuOf(self, index: int, family: int) -> int:
        """
        The MTU of an interface for an address family.
        """
        return self._interfaces[index].mtus[family]

    def tables(self) -> int:
        """
        The number of tables that were handed over and not freed.
        """
        return len(self._tables)

    def registered(self) -> int:
        """
        The number of registrations for notifications.
        """
        return len(self._registrations)

    # The functions of the DLL

    def GetIfTable2(self, table: Any) -> int:
        return self._give("GetIfTable2", table, [each.row() for each in self._interfaces.values()])

    def GetIpInterfaceTable(self, family: int, table: Any) -> int:
        assert family == 0
        rows = [
            self._interface(each, family, mtu)
            for each in self._interfaces.values()
            for family, mtu in each.mtus.items()
        ]
        return self._give("GetIpInterfaceTable", table, [bytes(each.data) for each in rows])

    def _interface(self, of: Interface, family: int, mtu: int) -> Row:
        # The DLL has the octets of each setting, so a program has to give back those that it does not change.
        return row(
            "MIB_IPINTERFACE_ROW",
            Family=family,
            InterfaceIndex=of.index,
            SitePrefixLength=_SITE_PREFIX,
            DadTransmits=3,
            Metric=25,
            NlMtu=mtu,
        )

    def GetUnicastIpAddressTable(self, family: int, table: Any) -> int:
        assert family == 0
        rows = [
            row("MIB_UNICASTIPADDRESS_ROW", Address=socketAddress(ip), InterfaceIndex=index, OnLinkPrefixLength=length)
            for index, ip, length in self._addresses
        ]
        return self._give("GetUnicastIpAddressTable", table, [bytes(each.data) for each in rows])

    def GetIpForwardTable2(self, family: int, table: Any) -> int:
        assert family == 0
        rows = []
        for each in self._routes:
            prefix = row(
                "IP_ADDRESS_PREFIX",
                Prefix=socketAddress(each.network.network_address),
                PrefixLength=each.network.prefixlen,
            )
            rows.append(
                row(
                    "MIB_IPFORWARD_ROW2",
                    InterfaceIndex=each.index,
                    DestinationPrefix=bytes(prefix.data),
                    NextHop=socketAddress(each.gateway),
                    Metric=each.metric,
                )
            )
        return self._give("GetIpForwardTable2", table, [bytes(each.data) for each in rows])

    def _give(self, name: str, table: Any, rows: list[bytes]) -> int:
        """
        Hand over a table, which the caller frees.
        """
        code = self._failures.get(name, 0)
        if code or name in self._absent:
            return code
        data = bytearray(len(rows).to_bytes(8, "little") + b"".join(rows))
        for position, octets in self._pokes.get(name, ()):
            data[position : position + len(octets)] = octets
        buffer = ctypes.create_string_buffer(bytes(data), len(data))
        address = ctypes.addressof(buffer)
        self._tables[address] = buffer
        table._obj.value = address
        return _NO_ERROR

    def FreeMibTable(self, table: Any) -> None:
        del self._tables[table.value]

    def GetIpInterfaceEntry(self, entry: Any) -> int:
        found = self._bound(Row("MIB_IPINTERFACE_ROW", bytes(entry._obj)), "Family")
        if isinstance(found, int):
            return found
        interface, family = found
        made = self._interface(interface, family, interface.mtus[family])
        ctypes.memmove(entry, bytes(made.data), len(made.data))
        return self._failures.get("GetIpInterfaceEntry", 0)

    def _bound(self, entry: Row, name: str) -> int | tuple[Interface, int]:
        """
        Find the interface of a row, and the family in one of its fields; an error number if there is none.
        """
        interface, family = (
            self._interfaces.get(entry["InterfaceIndex"]),
            int.from_bytes(entry.octets(name)[:2], "little"),
        )
        if entry["InterfaceLuid"] or family not in BOTH:
            return _INVALID
        if interface is None or family not in interface.mtus:
            return _NOT_FOUND
        return interface, family

    def _ask(self, name: str) -> int:
        """
        Note that a change was asked for, and return the error number with which it is refused.
        """
        self._asked.append(name)
        return self._failures.get(name) or (0 if self._isElevated else _DENIED)

    def SetIpInterfaceEntry(self, entry: Any) -> int:
        given = Row("MIB_IPINTERFACE_ROW", bytes(entry._obj))
        code, found = self._ask("SetIpInterfaceEntry"), self._bound(given, "Family")
        if code or isinstance(found, int):
            return code or int(found)  # type: ignore[arg-type]
        interface, family = found
        least, longest = (68, 32) if family == INET else (1280, 128)
        isKept = given["DadTransmits"] == 3 and given["Metric"] == 25
        if given["SitePrefixLength"] > longest or not isKept or not least <= given["NlMtu"] <= interface.mtu:
            return _INVALID
        interface.mtus[family] = given["NlMtu"]
        self._tell("NotifyIpInterfaceChange")
        return _NO_ERROR

    def InitializeUnicastIpAddressEntry(self, entry: Any) -> None:
        made = row(
            "MIB_UNICASTIPADDRESS_ROW",
            ValidLifetime=_FOR_EVER,
            PreferredLifetime=_FOR_EVER,
            OnLinkPrefixLength=255,
        )
        ctypes.memmove(entry, bytes(made.data), len(made.data))

    def CreateUnicastIpAddressEntry(self, entry: Any) -> int:
        given = Row("MIB_UNICASTIPADDRESS_ROW", bytes(entry._obj))
        code, found = self._ask("CreateUnicastIpAddressEntry"), self._bound(given, "Address")
        if code or isinstance(found, int):
            return code or int(found)  # type: ignore[arg-type]
        ip, length = addressIn(given.octets("Address")), given["OnLinkPrefixLength"]
        isForEver = given["ValidLifetime"] == given["PreferredLifetime"] == _FOR_EVER
        if ip is None or length > ip.max_prefixlen or not isForEver:
            return _INVALID
        if given["DadState"] != NUMBERS["IpDadStatePreferred"]:
            return _INVALID
        if ip in [each[1] for each in self._addresses]:
            return _EXISTS
        index = found[0].index
        self._addresses.append((index, ip, length))
        self._routes.append(Route(index, ip_network((ip, length), False), _none(ip), 256, False))
        self._tell("NotifyUnicastIpAddressChange")
        return _NO_ERROR

    def DeleteUnicastIpAddressEntry(self, entry: Any) -> int:
        given = Row("MIB_UNICASTIPADDRESS_ROW", bytes(entry._obj))
        code, ip = self._ask("DeleteUnicastIpAddressEntry"), addressIn(given.octets("Address"))
        if code:
            return code
        index = given["InterfaceIndex"]
        present = [each for each in self._addresses if each[:2] == (index, ip)]
        if not present:
            return _NOT_FOUND
        self._addresses.remove(present[0])
        _, own, length = present[0]
        network = ip_network((own, length), False)
        gone = [each for each in self._routes if (each.index, each.network, each.isOwn) == (index, network, False)]
        self._routes.remove(gone[0])
        self._tell("NotifyUnicastIpAddressChange")
        return _NO_ERROR

    def InitializeIpForwardEntry(self, entry: Any) -> None:
        made = row(
            "MIB_IPFORWARD_ROW2", ValidLifetime=_FOR_EVER, PreferredLifetime=_FOR_EVER, Metric=_FOR_EVER, Immortal=1
        )
        ctypes.memmove(entry, bytes(made.data), len(made.data))

    def CreateIpForwardEntry2(self, entry: Any) -> int:
        given = Row("MIB_IPFORWARD_ROW2", bytes(entry._obj))
        code, found = self._ask("CreateIpForwardEntry2"), self._bound(given, "NextHop")
        if code or isinstance(found, int):
            return code or int(found)  # type: ignore[arg-type]
        route = self._route(given)
        isForEver = given["ValidLifetime"] == given["PreferredLifetime"] == _FOR_EVER
        if route is None or not isForEver or given["Protocol"] != NUMBERS["MIB_IPPROTO_NETMGMT"]:
            return _INVALID
        if self._same(route):
            return _EXISTS
        self._routes.append(route)
        return _NO_ERROR

    def DeleteIpForwardEntry2(self, entry: Any) -> int:
        given = Row("MIB_IPFORWARD_ROW2", bytes(entry._obj))
        code, route = self._ask("DeleteIpForwardEntry2"), self._route(given)
        if code:
            return code
        if route is None:
            return _INVALID
        present = self._same(route)
        if not present:
            return _NOT_FOUND
        self._routes.remove(present[0])
        return _NO_ERROR

    def _route(self, given: Row) -> Route | None:
        prefix = Row("IP_ADDRESS_PREFIX", given.octets("DestinationPrefix"))
        first, hop = addressIn(prefix.octets("Prefix")), addressIn(given.octets("NextHop"))
        if first is None or hop is None or first.version != hop.version:
            return None
        try:
            network = ip_network((first, prefix["PrefixLength"]))
        except ValueError:
            return None
        return Route(given["InterfaceIndex"], network, hop, given["Metric"], True)

    def _same(self, route: Route) -> list[Route]:
        def key(each: Route) -> tuple[object, ...]:
            return each.index, each.network, each.gateway

        return [each for each in self._routes if key(each) == key(route)]

    def NotifyIpInterfaceChange(self, *arguments: Any) -> int:
        return self._register("NotifyIpInterfaceChange", *arguments)

    def NotifyUnicastIpAddressChange(self, *arguments: Any) -> int:
        return self._register("NotifyUnicastIpAddressChange", *arguments)

    def _register(self, name: str, family: int, callback: Any, context: None, isInitial: bool, handle: Any) -> int:
        assert (family, context, isInitial) == (0, None, False)
        code = self._failures.get(name, 0)
        if code or name in self._absent:
            return code
        self._handles += 1
        self._registrations[self._handles] = Registration(name, callback, [])
        handle._obj.value = self._handles
        return _NO_ERROR

    def _tell(self, name: str) -> None:
        for each in self._registrations.values():
            if each.name == name:
                thread = Thread(target=each.callback, args=(None, None, 0))
                each.threads.append(thread)
                thread.start()

    def CancelMibChangeNotify2(self, handle: Any) -> int:
        code = self._failures.get("CancelMibChangeNotify2", 0)
        if code:
            return code
        registration = self._registrations[handle.value]
        if current_thread() in registration.threads:
            return NUMBERS["ERROR_POSSIBLE_DEADLOCK"]
        del self._registrations[handle.value]
        for thread in registration.threads:
            thread.join()
        return _NO_ERROR


def _none(ip: _IP) -> _IP:
    """
    Make the unspecified address of an IP version.
    """
    return ip_address(bytes(len(ip.packed)))
