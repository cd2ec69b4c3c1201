"""
Records of an interface's settings: L{InterfaceSettings} for the settings to apply, and L{InterfaceState} for the
present ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

import attrs

from txtuntap.mistakes import checkRange, listed
from txtuntap.wire.address import linkAddressText, packAddress, packLinkAddress

#: The key of an address on its interface: the address, its prefix length, and as a number the network part of the
#: address or of its peer. Both numbers are 0 for IPv6.
AddressKey = tuple[str, int, int]

#: The smallest MTU for IPv4 (RFC 791 section 3.2), the smallest for IPv6 (RFC 8200 section 5), and the largest length
#: of an IPv4 packet, all in octets.
MIN_MTU, MIN_MTU_6, MAX_MTU = 68, 1280, 65535


#: The number of the main routing table (C{RT_TABLE_MAIN}).
MAIN_TABLE = 254


def _checked(parse: Callable[[str], object], text: object, example: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"give text such as {example!r}, not {text!r}")
    if "%" in text:
        raise ValueError(
            f"{text!r}: an address needs no scope here, because its interface is known: leave out the % and the rest"
        )
    try:
        return str(parse(text))
    except ValueError as e:
        raise ValueError(f"{e}: give one such as {example!r}") from e


def _address(text: str | None) -> str | None:
    return None if text is None else _checked(ip_address, text, "10.0.0.1")


def _interface(text: str) -> str:
    return _checked(ip_interface, text, "10.0.0.1/24")


def _prefixed(text: str) -> str:
    interface = _interface(text)
    _checkPrefix(text, interface, "10.0.0.1/24")
    return interface


def _network(text: str) -> str:
    network = _checked(ip_network, text, "10.1.0.0/16")
    _checkPrefix(text, network, "10.1.0.0/16")
    return network


def _checkPrefix(text: str, alone: str, example: str) -> None:
    if "/" not in text:
        raise ValueError(
            f"{text!r} has no prefix length: give one such as {example!r}, or {alone!r} for this address only"
        )


def _tableNumber(table: Any) -> Any:
    return None if table == MAIN_TABLE else table


def _isFlag(_: object, field: Any, value: object) -> None:
    # Text such as "no" from a configuration file would count as true, so only bool is accepted.
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{field.name} must be True, False or None, not {value!r}")


@attrs.frozen
class InterfaceAddress:
    """
    One IPv4 or IPv6 address of an interface.

    @ivar address: the address and its prefix length, such as C{"10.0.0.1/24"}. If there is a C{peer}, the prefix length
        is the peer's.
    @ivar peer: the address of the peer on a point-to-point link; C{None}: the link has a network.
    @ivar broadcast: the broadcast address, for IPv4 only; C{None}: none is set.
    """

    address: str = attrs.field(converter=_prefixed)
    peer: str | None = attrs.field(default=None, converter=_address)
    broadcast: str | None = attrs.field(default=None, converter=_address)

    def __attrs_post_init__(self) -> None:
        if self.interface.ip.is_multicast or self.interface.ip.is_unspecified:
            raise ValueError(f"{self.address} is not the address of one interface")
        for name, other in ("peer", self.peer), ("broadcast", self.broadcast):
            if other is not None and ip_address(other).version != self.interface.version:
                raise ValueError(f"the {name} {other} is of another IP version than {self.address}")
        if self.broadcast is not None and self.interface.version == 6:
            raise ValueError(f"{self.address}: IPv6 has no broadcast addresses")

    @classmethod
    def read(cls, address: str, peer: str | None = None, broadcast: str | None = None) -> InterfaceAddress:
        """
        Make the record of an address that an interface has, without the checks of the constructor. An interface may
        have an address that makes no sense as a setting: the kernel accepts a multicast address, and joins its group.
        """
        made = cls.__new__(cls)
        fields = ("address", _interface(address)), ("peer", _address(peer)), ("broadcast", _address(broadcast))
        for name, value in fields:
            # The class is frozen, and its constructor would check the values.
            object.__setattr__(made, name, value)
        return made

    @property
    def interface(self) -> IPv4Interface | IPv6Interface:
        """
        The address and its network, as an object of the module C{ipaddress}.
        """
        return ip_interface(self.address)

    @property
    def key(self) -> AddressKey:
        """
        The key by which the kernel identifies an address of an interface. Adding an address replaces the one with the
        same key. The key of an IPv6 address is the address itself. The key of an IPv4 address also has its network, or
        its peer's network.
        """
        # The module ipaddress would take ten times as long, and an interface may have thousands of addresses.
        own, _, prefix = self.address.partition("/")
        if ":" in own:
            return own, 0, 0
        length = int(prefix)
        return own, length, int.from_bytes(packAddress(self.peer or own), "big") >> 32 - length

    @property
    def destinations(self) -> IPv4Network | IPv6Network:
        """
        The network to which the kernel sends packets through the interface because the interface has this address.
        """
        return self.interface.network if self.peer is None else ip_network(f"{self.peer}/{self.prefixLength}", False)

    def __str__(self) -> str:
        return self.address if self.peer is None else f"{self.interface.ip} peer {self.peer}/{self.prefixLength}"

    @property
    def prefixLength(self) -> int:
        """
        The length of the network's prefix, or of the peer's, in bits.
        """
        return self.interface.network.prefixlen

    @classmethod
    def of(cls, value: str | InterfaceAddress) -> InterfaceAddress:
        """
        Parse the text of an address.

        @param value: text such as C{"10.0.0.1/24"}, C{"10.0.0.1/24 broadcast 10.0.0.255"} or, in the form of the C{ip}
            command, C{"10.0.0.1 peer 10.0.0.2/32"}. An L{InterfaceAddress} is returned as it is.

        @raise ValueError: C{value} is not an address.
        """
        if isinstance(value, InterfaceAddress):
            return value
        if not isinstance(value, str):
            raise ValueError(f"an address must be text such as '10.0.0.1/24', not {value!r}")
        address, *words = value.split() or [value]
        others = dict(zip(words[::2], words[1::2], strict=False))
        if len(others) * 2 != len(words) or others.keys() - {"peer", "broadcast"}:
            raise ValueError(
                f"{value!r} is not an address: give ADDRESS/PREFIX, and 'peer ADDRESS' or 'broadcast ADDRESS' after it"
            )
        peer, slash, prefix = others.get("peer", "").partition("/")
        if slash:
            if "/" in address:
                raise ValueError(f"{value!r} has two prefix lengths: give only that of the peer")
            address = f"{address}/{prefix}"
        elif peer and "/" not in address:
            # Without a prefix length, the peer's network is the peer alone.
            address = _interface(address)
        return cls(address, peer or None, others.get("broadcast"))


@attrs.frozen
class InterfaceRoute:
    """
    One IPv4 or IPv6 route through an interface.

    @ivar network: the destination network in CIDR notation.
    @ivar gateway: the address of the next hop; C{None}: the network is on the link.
    @ivar metric: the metric. Among several routes to one network, the kernel uses the one with the lowest metric.
        C{None}: the kernel's default.
    @ivar source: the source address for packets that use the route; C{None}: the kernel chooses one.
    @ivar table: the number of the routing table; C{None}: the main table. The kernel looks a route up in another table
        only where a policy rule says so.
    """

    network: str = attrs.field(converter=_network)
    gateway: str | None = attrs.field(default=None, converter=_address)
    metric: int | None = None
    source: str | None = attrs.field(default=None, converter=_address)
    table: int | None = attrs.field(default=None, converter=_tableNumber)

    def __attrs_post_init__(self) -> None:
        for name, other in ("gateway", self.gateway), ("source", self.source):
            if other is not None and ip_address(other).version != ip_network(self.network).version:
                raise ValueError(f"the {name} {other} is of another IP version than {self.network}")
        _checkRange("metric", self.metric, 0, 2**32 - 1)
        _checkRange("table", self.table, 1, 2**32 - 1)

    def __str__(self) -> str:
        words = ("via", self.gateway), ("metric", self.metric), ("src", self.source), ("table", self.table)
        return " ".join([self.network, *(f"{word} {value}" for word, value in words if value is not None)])

    @classmethod
    def of(cls, value: str | InterfaceRoute) -> InterfaceRoute:
        """
        Parse the text of a route.

        @param value: text in the form of the C{ip route} command: the network, such as C{"10.1.0.0/16"}, and then any
            of C{"via GATEWAY"}, C{"metric N"}, C{"src ADDRESS"} and C{"table N"}. An L{InterfaceRoute} is returned as
            it is.

        @raise ValueError: C{value} is not a route.
        """
        if isinstance(value, InterfaceRoute):
            return value
        if not isinstance(value, str):
            raise ValueError(f"a route must be text such as '10.1.0.0/16 via 10.0.0.2', not {value!r}")
        network, *words = value.split() or [value]
        others = dict(zip(words[::2], words[1::2], strict=False))
        if len(others) * 2 != len(words) or others.keys() - {"via", "metric", "src", "table"}:
            raise ValueError(
                f"{value!r} is not a route: give NETWORK/PREFIX, and 'via ADDRESS', 'metric NUMBER', 'src ADDRESS' or"
                " 'table NUMBER' after it"
            )
        numbers: dict[str, int | None] = {}
        for name in "metric", "table":
            text = others.get(name, "0")
            if not (text.isascii() and text.isdigit()):
                raise ValueError(f"the {name} of {value!r} is not a number")
            numbers[name] = int(text) if name in others else None
        return cls(network, others.get("via"), numbers["metric"], others.get("src"), numbers["table"])


def unreached(
    addresses: Sequence[InterfaceAddress],
    routes: Sequence[InterfaceRoute],
    own: Sequence[IPv4Interface | IPv6Interface],
) -> str | None:
    """
    Find an IP version for which the kernel has no route to a host that this package runs behind an interface.

    @param addresses: the kernel's addresses on the interface.
    @param routes: the kernel's routes through the interface.
    @param own: the addresses of the host.

    @return: a text that says what is wrong and what to give instead; C{None}: the kernel can reach the host.
    """
    reached = [*(each.destinations for each in addresses), *(ip_network(each.network) for each in routes)]
    for version in 4, 6:
        ours = [each for each in own if each.version == version]
        kernels = [each for each in addresses if each.interface.version == version]
        # Link-local addresses do not count, because both sides of every link have one.
        kernels = [each for each in kernels if not each.interface.is_link_local]
        if ours and kernels and not any(each.ip in network for each in ours for network in reached):
            return (
                f"from {kernels[0]}, the kernel reaches no address of the host: give it one in the network of"
                f" {ours[0]}, or a route there, such as {ours[0].network}"
            )
    return None


def _checkRange(name: str, value: object, least: int, most: int) -> None:
    if value is not None:
        checkRange(value, name, least, most)


def _addresses(values: Iterable[str | InterfaceAddress]) -> tuple[InterfaceAddress, ...]:
    return tuple(map(InterfaceAddress.of, listed(values, "addresses", "10.0.0.1/24")))


def _routes(values: Iterable[str | InterfaceRoute]) -> tuple[InterfaceRoute, ...]:
    return tuple(map(InterfaceRoute.of, listed(values, "routes", "10.1.0.0/16")))


def userNumber(value: int | str) -> int:
    """
    Find the number of a user (C{uid}).

    @param value: the number, or the user's name.

    @raise ValueError: there is no user of this name, or C{value} is neither a number nor a name.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        if sys.platform == "win32":
            raise ValueError(f"owner {value!r}: users have no numbers on Windows: leave it out")
        import pwd

        try:
            return pwd.getpwnam(value).pw_uid
        except KeyError:
            raise ValueError(f"there is no user {value!r}") from None
    return _number("owner", value)


def groupNumber(value: int | str) -> int:
    """
    Find the number of a group (C{gid}).

    @param value: the number, or the group's name.

    @raise ValueError: there is no group of this name, or C{value} is neither a number nor a name.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        if sys.platform == "win32":
            raise ValueError(f"group {value!r}: groups have no numbers on Windows: leave it out")
        import grp

        try:
            return grp.getgrnam(value).gr_gid
        except KeyError:
            raise ValueError(f"there is no group {value!r}") from None
    return _number("group", value)


def userName(number: int) -> str:
    """
    Return the name of a user; the number as text, if no user has it.
    """
    if sys.platform == "win32":
        return str(number)
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def groupName(number: int) -> str:
    """
    Return the name of a group; the number as text, if no group has it.
    """
    if sys.platform == "win32":
        return str(number)
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _number(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{name} must be a number or a name, not {value!r}")
    return int(value)


def _neighbours(value: Mapping[str, str | bytes]) -> dict[str, bytes]:
    if not isinstance(value, Mapping):
        raise ValueError(f"neighbours must be a mapping from IP address to link address, not {value!r}")
    return {str(_address(address)): packLinkAddress(station) for address, station in value.items()}


@attrs.frozen(kw_only=True)
class InterfaceSettings:
    """
    The settings to apply to an interface. A setting that is C{None} or is not given stays as it is.

    @ivar addresses: the addresses to add: L{InterfaceAddress}es, or text such as C{"10.0.0.1/24"}.
    @ivar routes: the routes to add: L{InterfaceRoute}s, or text such as C{"10.1.0.0/16"} and
        C{"0.0.0.0/0 via 10.0.0.2"}.
    @ivar neighbours: the link address of each static neighbour, by IP address. The kernel sends no ARP request or
        neighbour solicitation for these.
    @ivar mtu: the MTU in octets.
    @ivar linkAddress: the link address of the kernel's side of a tap: six octets, or text.
    @ivar up: whether the link is up. This is C{True} unless another value is given.
    @ivar txqueuelen: the largest number of packets that wait in the kernel for the program to read them.
    @ivar owner: the user that may open the device without privilege: a number or a name.
    @ivar group: the group whose members may open the device without privilege: a number or a name.
    @ivar persistent: whether the device continues to exist while no program has it open.
    @ivar carrier: whether the link has a carrier.
    @ivar hardened: C{True}: no packet that the kernel receives on the interface can change the kernel's configuration.
        The kernel then ignores router advertisements, redirects and source routes
        (L{hardening<txtuntap.device.linux.hardening>}). Ignoring IPv4 redirects also needs 0 in
        C{net.ipv4.conf.all.accept_redirects}, which is set and not restored.
    """

    addresses: tuple[InterfaceAddress, ...] = attrs.field(default=(), converter=_addresses)
    routes: tuple[InterfaceRoute, ...] = attrs.field(default=(), converter=_routes)
    neighbours: dict[str, bytes] = attrs.field(factory=dict, converter=_neighbours)
    mtu: int | None = None
    linkAddress: bytes | None = attrs.field(default=None, converter=attrs.converters.optional(packLinkAddress))
    up: bool | None = attrs.field(default=True, validator=_isFlag)
    txqueuelen: int | None = None
    owner: int | None = attrs.field(default=None, converter=attrs.converters.optional(userNumber))
    group: int | None = attrs.field(default=None, converter=attrs.converters.optional(groupNumber))
    persistent: bool | None = attrs.field(default=None, validator=_isFlag)
    carrier: bool | None = attrs.field(default=None, validator=_isFlag)
    hardened: bool | None = attrs.field(default=None, validator=_isFlag)

    def __attrs_post_init__(self) -> None:
        if self.hardened is False:
            raise ValueError(
                "hardened must be True or None: to let the kernel trust packets of the interface, use sysctl"
            )
        _checkRange("mtu", self.mtu, MIN_MTU, MAX_MTU)
        _checkRange("txqueuelen", self.txqueuelen, 0, 2**32 - 1)
        _checkRange("owner", self.owner, 0, 2**32 - 2)
        _checkRange("group", self.group, 0, 2**32 - 2)
        if self.linkAddress is not None and (self.linkAddress[0] & 1 or not any(self.linkAddress)):
            raise ValueError(f"{linkAddressText(self.linkAddress)} is not the link address of one station")
        if self.mtu is not None and self.mtu < MIN_MTU_6:
            six = [str(each) for each in (*self.addresses, *self.routes) if ":" in str(each)]
            if six:
                raise ValueError(
                    f"an MTU under {MIN_MTU_6} disables IPv6: with {self.mtu}, the interface cannot have {six[0]}"
                )
        if not self.up and self.up is not None and self.routes:
            raise ValueError("a link that is down has no routes: leave out the routes, or set it up")


def settingsOf(options: Mapping[str, str], values: Mapping[str, Any]) -> InterfaceSettings:
    """
    Make settings from the values of command line options.

    @param options: the option that each setting of a user comes from, such as C{"--lladdr"} for C{"linkAddress"}.
    @param values: all settings by name.

    @raise ValueError: a setting is wrong. If it is wrong by itself, the text begins with its option.
    """
    for setting, option in options.items():
        try:
            InterfaceSettings(**{setting: values[setting]})
        except ValueError as e:
            raise ValueError(f"{option}: {e}") from e
    return InterfaceSettings(**values)


@attrs.frozen(kw_only=True)
class InterfaceState:
    """
    The present settings of an interface, as read from the kernel.

    @ivar name: the interface's name.
    @ivar index: the interface's index.
    @ivar kind: C{"tun"}, C{"tap"}, another kind by the kernel's name for it (C{"veth"}), or empty.
    @ivar flags: the flags C{IFF_...} of C{netdevice(7)}.
    @ivar up: whether the link is set up.
    @ivar carrier: whether the link has a carrier.
    @ivar mtu: the MTU in octets.
    @ivar linkAddress: the link address, six octets; C{None} for a tun.
    @ivar txqueuelen: the largest number of packets that wait in the kernel for a program to read them.
    @ivar addresses: the interface's addresses.
    @ivar owner: the number of the user that may open a TUN or TAP device without privilege; C{None}: there is none.
    @ivar group: the number of the group whose members may open it without privilege; C{None}: there is none.
    @ivar persistent: whether the device continues to exist while no program has it open.
    @ivar multiQueue: whether several descriptors can be attached to the device.
    @ivar queues: the number of descriptors that are attached to a device with C{multiQueue}. The kernel does not report
        this for other devices.
    @ivar vnetHeader: whether each packet is preceded by a C{virtio_net_hdr}, which describes its offload.
    @ivar information: whether each packet is preceded by four octets of protocol information.
    @ivar statistics: the numbers of packets and octets by the kernel's names, such as C{rx_packets}. The kernel counts
        as received (C{rx}) the packets that the program has written.
    """

    name: str
    index: int
    kind: str
    flags: int
    up: bool
    carrier: bool
    mtu: int
    linkAddress: bytes | None
    txqueuelen: int
    addresses: tuple[InterfaceAddress, ...] = ()
    owner: int | None = None
    group: int | None = None
    persistent: bool = False
    multiQueue: bool = False
    queues: int = 0
    vnetHeader: bool = False
    information: bool = False
    statistics: dict[str, int] = attrs.field(factory=dict)
