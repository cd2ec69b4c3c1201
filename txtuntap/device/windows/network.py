"""
The calls by which Windows configures and reports interfaces, over L{txtuntap.device.windows.iphlpapi}. Run under Wine
with fake drivers, not on a real Windows yet.

No call blocks. The tables that Windows hands over are checked before they are read.
"""

from __future__ import annotations

import ctypes
import errno
from collections import defaultdict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import attrs

from txtuntap.device.settings import MAX_MTU, MIN_MTU, InterfaceAddress, InterfaceState
from txtuntap.device.windows.iphlpapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IF_TYPE_ETHERNET_CSMACD,
    IF_TYPE_SOFTWARE_LOOPBACK,
    MIB_IF_ROW2,
    MIB_IPFORWARD_ROW2,
    MIB_IPINTERFACE_ROW,
    MIB_IPPROTO_NETMGMT,
    MIB_UNICASTIPADDRESS_ROW,
    NET_IF_ADMIN_STATUS_UP,
    SOCKADDR_INET,
    TABLE_START,
    IfOperStatusUp,
    IpDadStatePreferred,
    NdisMediumIP,
    copied,
    load,
)
from txtuntap.device.windows.library import CallFailed
from txtuntap.device.windows.notifications import Notification

#: The address family of Windows for each IP version.
FAMILIES = {4: AF_INET, 6: AF_INET6}

#: The IP version for each address family of Windows.
_VERSIONS = {AF_INET: 4, AF_INET6: 6}

#: The largest number of rows that a table may have. A larger number is an error, because Windows has no such table.
_MAX_ROWS = 65535

#: The length of the number of rows, in octets.
_COUNT = 4

#: The length of an Ethernet address, in octets.
_LINK_ADDRESS = 6

#: Flags of C{netdevice(7)}: IFF_UP, IFF_LOOPBACK and IFF_RUNNING.
UP, LOOPBACK, RUNNING = 0x1, 0x8, 0x40

#: Linux's name for each number of a link.
_STATISTICS = {
    "rx_packets": ("InUcastPkts", "InNUcastPkts"),
    "tx_packets": ("OutUcastPkts", "OutNUcastPkts"),
    "rx_bytes": ("InOctets",),
    "tx_bytes": ("OutOctets",),
    "rx_errors": ("InErrors",),
    "tx_errors": ("OutErrors",),
    "rx_dropped": ("InDiscards",),
    "tx_dropped": ("OutDiscards",),
}


@attrs.frozen
class Route:
    """
    One route of Windows.

    @ivar index: the index of the interface.
    @ivar network: the destination network.
    @ivar gateway: the next hop; C{None}: the network is on the link.
    @ivar metric: the metric of the route, to which Windows adds the metric of the interface.
    """

    index: int
    network: IPv4Network | IPv6Network
    gateway: IPv4Address | IPv6Address | None
    metric: int


class Network:
    """
    The interfaces of Windows, with a method for each change.

    @ivar malformed: the number of rows that were ignored because they are malformed.
    """

    def __init__(self, library: Any = None) -> None:
        """
        @param library: the functions of C{iphlpapi.dll}; C{None}: load Windows' own.

        @raise OSError: there is no such DLL.
        """
        self._library: Any = load() if library is None else library
        self.malformed = 0

    # Reading

    def states(self) -> list[InterfaceState]:
        """
        Read the states of all interfaces that IPv4 or IPv6 uses.
        """
        mtus = self._mtus()
        addresses: dict[int, list[InterfaceAddress]] = defaultdict(list)
        for row in self._table("GetUnicastIpAddressTable", MIB_UNICASTIPADDRESS_ROW, AF_UNSPEC):
            ip = self._ip(row.Address, row.OnLinkPrefixLength)
            if ip is not None:
                addresses[row.InterfaceIndex].append(InterfaceAddress.read(f"{ip}/{row.OnLinkPrefixLength}"))
        states = []
        for row in self._links():
            index = row.InterfaceIndex
            if index in mtus:
                # IPv4 comes first, because the MTU of IPv6 cannot be less than 1280.
                mtu = mtus[index].get(AF_INET) or mtus[index][AF_INET6]
                states.append(_state(row, mtu, tuple(addresses[index])))
        return states

    def names(self) -> dict[int, str]:
        """
        Read the name of each link, by the link's index. The links that neither IPv4 nor IPv6 uses are among them.
        """
        return {row.InterfaceIndex: _text(row.Alias) for row in self._links()}

    def mtus(self, index: int) -> dict[int, int]:
        """
        Read the MTU of an interface for each address family that uses it.
        """
        return self._mtus().get(index, {})

    def routes(self) -> list[Route]:
        """
        Read all routes of Windows.
        """
        routes = []
        for row in self._table("GetIpForwardTable2", MIB_IPFORWARD_ROW2, AF_UNSPEC):
            length = row.DestinationPrefix.PrefixLength
            first, hop = self._ip(row.DestinationPrefix.Prefix, length), self._ip(row.NextHop)
            if first is not None and hop is not None:
                gateway = None if hop.is_unspecified else hop
                routes.append(Route(row.InterfaceIndex, ip_network((first, length), False), gateway, row.Metric))
        return routes

    def _links(self) -> list[Any]:
        links = self._table("GetIfTable2", MIB_IF_ROW2)
        sound = [row for row in links if row.PhysicalAddressLength <= len(row.PhysicalAddress)]
        self.malformed += len(links) - len(sound)
        return sound

    def _mtus(self) -> dict[int, dict[int, int]]:
        try:
            rows = self._table("GetIpInterfaceTable", MIB_IPINTERFACE_ROW, AF_UNSPEC)
            found = [(row.InterfaceIndex, row.Family, row.NlMtu) for row in rows]
        except OSError as e:
            if e.errno != errno.ENOTSUP:
                raise
            # Wine has no such table. There, IPv4 and IPv6 use each link with the MTU of the link.
            found = [(row.InterfaceIndex, family, row.Mtu) for row in self._links() for family in _VERSIONS]
        mtus: dict[int, dict[int, int]] = {}
        for index, family, mtu in found:
            if family in _VERSIONS and mtu >= MIN_MTU:
                # The loopback interface has the largest number of 32 bits.
                mtus.setdefault(index, {})[family] = min(mtu, MAX_MTU)
            else:
                self.malformed += 1
        return mtus

    def _table(self, name: str, kind: Any, *arguments: int) -> list[Any]:
        """
        Read a table, and free it.

        @param name: the function that returns the table.
        @param kind: the structure of a row.
        """
        table = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(table))
        if not table.value:
            raise OSError(errno.EIO, f"{name} of Windows gave no table")
        # A table that cannot be read is not freed, because there is no such table.
        count = int.from_bytes(copied(table.value, _COUNT), "little")
        try:
            if count > _MAX_ROWS:
                raise OSError(errno.EIO, f"{name} of Windows gave a table of {count} rows: {_MAX_ROWS} is the most")
            octets = copied(table.value + TABLE_START, count * ctypes.sizeof(kind))
        finally:
            self._library.FreeMibTable(table)
        return list((kind * count).from_buffer_copy(octets))

    def _ip(self, address: Any, prefixLength: int = 0) -> IPv4Address | IPv6Address | None:
        """
        Parse the structure of an address.

        @return: the address; C{None}: it has another family than IP, or its prefix is too long. Then it is counted.
        """
        version = _VERSIONS.get(address.si_family)
        octets = {4: address.sin_addr, 6: address.sin6_addr}.get(version or 0)
        if octets is None or prefixLength > 8 * len(octets):
            self.malformed += 1
            return None
        return ip_address(bytes(octets))

    def _call(self, name: str, *arguments: Any) -> None:
        """
        Call a function of the DLL.

        @raise OSError: the function fails.
        """
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CallFailed(code).explained(f"{name} fails")

    # Changing

    def setMTU(self, index: int, family: int, mtu: int) -> None:
        """
        Set the MTU of an interface for one address family, in octets. The other settings keep their values.
        """
        row = MIB_IPINTERFACE_ROW(Family=family, InterfaceIndex=index)
        self._call("GetIpInterfaceEntry", ctypes.byref(row))
        if family == AF_INET:
            # Windows refuses the value that it has just given, with ERROR_INVALID_PARAMETER.
            row.SitePrefixLength = 0
        row.NlMtu = mtu
        self._call("SetIpInterfaceEntry", ctypes.byref(row))

    def addAddress(self, index: int, address: InterfaceAddress) -> None:
        """
        Add an address to an interface. Windows does not look for another host with this address before it uses it. An
        address with a peer is alone on its link, because Windows has no peers: the peer's network needs a route.
        """
        row = MIB_UNICASTIPADDRESS_ROW()
        self._library.InitializeUnicastIpAddressEntry(ctypes.byref(row))
        own = address.interface.ip
        row.Address, row.InterfaceIndex = _socketAddress(own), index
        row.OnLinkPrefixLength = address.prefixLength if address.peer is None else own.max_prefixlen
        row.DadState = IpDadStatePreferred
        self._call("CreateUnicastIpAddressEntry", ctypes.byref(row))

    def deleteAddress(self, index: int, address: InterfaceAddress) -> None:
        """
        Delete an address of an interface.
        """
        row = MIB_UNICASTIPADDRESS_ROW(Address=_socketAddress(address.interface.ip), InterfaceIndex=index)
        self._call("DeleteUnicastIpAddressEntry", ctypes.byref(row))

    def addRoute(self, route: Route) -> None:
        """
        Add a route through an interface.
        """
        self._call("CreateIpForwardEntry2", ctypes.byref(self._row(route)))

    def deleteRoute(self, route: Route) -> None:
        """
        Delete a route through an interface.
        """
        self._call("DeleteIpForwardEntry2", ctypes.byref(self._row(route)))

    def _row(self, route: Route) -> MIB_IPFORWARD_ROW2:
        row = MIB_IPFORWARD_ROW2()
        self._library.InitializeIpForwardEntry(ctypes.byref(row))
        network = route.network
        row.InterfaceIndex = route.index
        row.DestinationPrefix.Prefix = _socketAddress(network.network_address)
        row.DestinationPrefix.PrefixLength = network.prefixlen
        row.NextHop = _socketAddress(route.gateway or ip_address(bytes(network.max_prefixlen // 8)))
        row.Metric, row.Protocol = route.metric, MIB_IPPROTO_NETMGMT
        return row

    # Watching

    def notify(self, changed: Callable[[], object]) -> list[Notification]:
        """
        Have Windows call a function on a thread of its own after each change of an interface or an address.

        @return: the notifications, which have to be cancelled.
        """
        notifications: list[Notification] = []
        try:
            for name in "NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange":
                notifications.append(Notification(self._library, name, changed))
        except BaseException:
            for each in notifications:
                each.cancel()
            raise
        return notifications


def _state(row: Any, mtu: int, addresses: tuple[InterfaceAddress, ...]) -> InterfaceState:
    up, carrier = row.AdminStatus == NET_IF_ADMIN_STATUS_UP, row.OperStatus == IfOperStatusUp
    isLoopback = row.Type == IF_TYPE_SOFTWARE_LOOPBACK
    hasLinkAddress = row.PhysicalAddressLength == _LINK_ADDRESS and row.Type == IF_TYPE_ETHERNET_CSMACD
    kind = ""
    if row.MediaType == NdisMediumIP:
        kind = "tun"
    elif hasLinkAddress and _text(row.Description).upper().startswith("TAP-"):
        # "TAP-Windows Adapter V9", "TAP-Win32 Adapter V9", and the names that vendors give it.
        kind = "tap"
    return InterfaceState(
        name=_text(row.Alias),
        index=row.InterfaceIndex,
        kind=kind,
        flags=UP * up | LOOPBACK * isLoopback | RUNNING * carrier,
        up=up,
        carrier=carrier,
        mtu=mtu,
        linkAddress=bytes(row.PhysicalAddress[:_LINK_ADDRESS]) if hasLinkAddress else None,
        txqueuelen=0,
        addresses=addresses,
        statistics={name: sum(getattr(row, each) for each in fields) for name, fields in _STATISTICS.items()},
    )


def _text(units: Any) -> str:
    """
    Decode a text of UTF-16, which ends at the first zero or fills its place.
    """
    return bytes(units).decode("utf-16-le", "replace").partition("\0")[0]


def _socketAddress(ip: IPv4Address | IPv6Address) -> SOCKADDR_INET:
    address = SOCKADDR_INET(si_family=FAMILIES[ip.version])
    octets = address.sin_addr if ip.version == 4 else address.sin6_addr
    octets[:] = ip.packed
    return address
