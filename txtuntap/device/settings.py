"""
Records of an interface's settings: those that it is to have, and those that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

import attrs

from txtuntap.mistakes import checkRange, listed
from txtuntap.wire.address import linkAddressText, packAddress, packLinkAddress

#: An address; and for IPv4, its prefix length and the number of its network.
AddressKey = tuple[str, int, int]

#: The MTU that IPv4 needs (RFC 791 section 3.2), and IPv6 (RFC 8200 section 5); and the most that IP can fill.
MIN_MTU, MIN_MTU_6, MAX_MTU = 68, 1280, 65535


def _checked(parse: Callable[[str], object], text: object, example: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"give text such as {example!r}, not {text!r}")
    if "%" in text:
        raise ValueError(
            f"{text!r}: an address has no scope here, its interface is known: leave out the % and the rest"
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
        raise ValueError(f"{text!r} has no prefix length: give one such as {example!r}, or {alone!r} for it alone")


def _isFlag(_: object, field: Any, value: object) -> None:
    # Text of a configuration file, "no", would be true.
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{field.name} is True, False or None, not {value!r}")


@attrs.frozen
class InterfaceAddress:
    """
    One address of an interface.

    @ivar address: with its prefix length, C{"10.0.0.1/24"}; where there is a C{peer}, the prefix is that one's.
    @ivar peer: the address at the other end of a point-to-point link; L{None}: a network is there.
    @ivar broadcast: the broadcast address, IPv4 only; L{None}: none is set.
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
        One that an interface has. The kernel takes more than is good to ask for: a multicast address, to join its
        group.
        """
        made = cls.__new__(cls)
        fields = ("address", _interface(address)), ("peer", _address(peer)), ("broadcast", _address(broadcast))
        for name, value in fields:
            # It is frozen, and to be made without the checks.
            object.__setattr__(made, name, value)
        return made

    @property
    def interface(self) -> IPv4Interface | IPv6Interface:
        """
        The address and its network.
        """
        return ip_interface(self.address)

    @property
    def key(self) -> AddressKey:
        """
        The kernel's key of an address on its interface: of two with one key, the later replaces the other. For IPv6 it
        is the address alone; for IPv4, the network at the other end, too.
        """
        # Without ipaddress, which takes ten times as long: an interface may have thousands of addresses.
        own, _, prefix = self.address.partition("/")
        if ":" in own:
            return own, 0, 0
        length = int(prefix)
        return own, length, int.from_bytes(packAddress(self.peer or own), "big") >> 32 - length

    @property
    def destinations(self) -> IPv4Network | IPv6Network:
        """
        The network that is reached by way of the interface because it has this address.
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
        @param value: one, or its text: C{"10.0.0.1/24"}, C{"10.0.0.1/24 broadcast 10.0.0.255"} or, with the prefix at
            the peer as C{ip} has it, C{"10.0.0.1 peer 10.0.0.2/32"}.

        @raise ValueError: it is none.
        """
        if isinstance(value, InterfaceAddress):
            return value
        if not isinstance(value, str):
            raise ValueError(f"an address is text such as '10.0.0.1/24', not {value!r}")
        address, *words = value.split() or [value]
        others = dict(zip(words[::2], words[1::2], strict=False))
        if len(others) * 2 != len(words) or others.keys() - {"peer", "broadcast"}:
            raise ValueError(
                f"{value!r} is no address: give ADDRESS/PREFIX, with 'peer' or 'broadcast' and one after it"
            )
        peer, slash, prefix = others.get("peer", "").partition("/")
        if slash:
            if "/" in address:
                raise ValueError(f"{value!r} has two prefixes: give that of the peer")
            address = f"{address}/{prefix}"
        elif peer and "/" not in address:
            # A peer is alone, if nothing else is said.
            address = _interface(address)
        return cls(address, peer or None, others.get("broadcast"))


@attrs.frozen
class InterfaceRoute:
    """
    One route by way of an interface.

    @ivar network: where it leads to, in CIDR notation.
    @ivar gateway: the next hop; L{None}: the network is on the link.
    @ivar metric: of several routes to one network, that with the lowest metric counts; L{None}: the kernel's default.
    @ivar source: the address that packets leave from; L{None}: the kernel chooses.
    """

    network: str = attrs.field(converter=_network)
    gateway: str | None = attrs.field(default=None, converter=_address)
    metric: int | None = None
    source: str | None = attrs.field(default=None, converter=_address)

    def __attrs_post_init__(self) -> None:
        for name, other in ("gateway", self.gateway), ("source", self.source):
            if other is not None and ip_address(other).version != ip_network(self.network).version:
                raise ValueError(f"the {name} {other} is of another IP version than {self.network}")
        _checkRange("metric", self.metric, 0, 2**32 - 1)

    def __str__(self) -> str:
        words = ("via", self.gateway), ("metric", self.metric), ("src", self.source)
        return " ".join([self.network, *(f"{word} {value}" for word, value in words if value is not None)])

    @classmethod
    def of(cls, value: str | InterfaceRoute) -> InterfaceRoute:
        """
        @param value: one, or its text as C{ip route} has it: C{"10.1.0.0/16"}, with C{"via GATEWAY"}, C{"metric N"} and
            C{"src ADDRESS"} after it, or some of these.

        @raise ValueError: it is none.
        """
        if isinstance(value, InterfaceRoute):
            return value
        if not isinstance(value, str):
            raise ValueError(f"a route is text such as '10.1.0.0/16 via 10.0.0.2', not {value!r}")
        network, *words = value.split() or [value]
        others = dict(zip(words[::2], words[1::2], strict=False))
        metric = others.get("metric", "0")
        if len(others) * 2 != len(words) or others.keys() - {"via", "metric", "src"}:
            raise ValueError(
                f"{value!r} is no route: give NETWORK/PREFIX, with 'via', 'metric' or 'src' and one after it"
            )
        if not (metric.isascii() and metric.isdigit()):
            raise ValueError(f"the metric of {value!r} is no number")
        return cls(network, others.get("via"), int(metric) if "metric" in others else None, others.get("src"))


def unreached(
    addresses: Sequence[InterfaceAddress],
    routes: Sequence[InterfaceRoute],
    own: Sequence[IPv4Interface | IPv6Interface],
) -> str | None:
    """
    Whether a host on an interface is out of the reach of the kernel's end, for one IP version.

    @param addresses: of the kernel's end.
    @param routes: of the kernel's by way of the interface.
    @param own: the addresses of the host.

    @return: what is wrong and what to give instead; L{None} if nothing is.
    """
    reached = [*(each.destinations for each in addresses), *(ip_network(each.network) for each in routes)]
    for version in 4, 6:
        ours = [each for each in own if each.version == version]
        kernels = [each for each in addresses if each.interface.version == version]
        # Link-local addresses are on every link, at both ends.
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
    The number of a user.

    @param value: it, or the user's name.

    @raise ValueError: there is none of this name.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        import pwd

        try:
            return pwd.getpwnam(value).pw_uid
        except KeyError:
            raise ValueError(f"there is no user {value!r}") from None
    return _number("owner", value)


def groupNumber(value: int | str) -> int:
    """
    The number of a group.

    @param value: it, or the group's name.

    @raise ValueError: there is none of this name.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        import grp

        try:
            return grp.getgrnam(value).gr_gid
        except KeyError:
            raise ValueError(f"there is no group {value!r}") from None
    return _number("group", value)


def _number(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{name} is a number or a name, not {value!r}")
    return int(value)


def _neighbours(value: Mapping[str, str | bytes]) -> dict[str, bytes]:
    if not isinstance(value, Mapping):
        raise ValueError(f"neighbours are link addresses by IP address, not {value!r}")
    return {str(_address(address)): packLinkAddress(station) for address, station in value.items()}


@attrs.frozen(kw_only=True)
class InterfaceSettings:
    """
    The settings that an interface is to have. A setting that is L{None}, or not named, stays as it is.

    @ivar addresses: L{InterfaceAddress}es, or texts such as C{"10.0.0.1/24"}.
    @ivar routes: L{InterfaceRoute}s, or texts such as C{"10.1.0.0/16"} and C{"0.0.0.0/0 via 10.0.0.2"}.
    @ivar neighbours: link addresses that are not to be asked for, by IP address.
    @ivar mtu: in octets.
    @ivar linkAddress: that of the kernel's end of a tap: six octets, or text.
    @ivar up: whether the link is up.
    @ivar txqueuelen: how many packets wait for the program to read them.
    @ivar owner: the user that may open the device without privilege: a number or a name.
    @ivar group: the group whose members may.
    @ivar persistent: whether the device stays when no program has it open.
    @ivar carrier: whether the link has its carrier.
    @ivar hardened: L{True}: no packet that comes in by the interface changes how the kernel is configured. It believes
        no router advertisement, redirect or source route (L{hardening<txtuntap.device.linux.hardening>}). For IPv4
        redirects C{net.ipv4.conf.all.accept_redirects} has to be 0 as well, and is set to that for good.
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
            raise ValueError("hardened is True or None: set what an interface is to believe with sysctl")
        _checkRange("mtu", self.mtu, MIN_MTU, MAX_MTU)
        _checkRange("txqueuelen", self.txqueuelen, 0, 2**32 - 1)
        _checkRange("owner", self.owner, 0, 2**32 - 2)
        _checkRange("group", self.group, 0, 2**32 - 2)
        if self.linkAddress is not None and (self.linkAddress[0] & 1 or not any(self.linkAddress)):
            raise ValueError(f"{linkAddressText(self.linkAddress)} is not the link address of one station")
        if self.mtu is not None and self.mtu < MIN_MTU_6:
            six = [str(each) for each in (*self.addresses, *self.routes) if ":" in str(each)]
            if six:
                raise ValueError(f"an MTU under {MIN_MTU_6} leaves no IPv6: {self.mtu} does not go with {six[0]}")
        if not self.up and self.up is not None and self.routes:
            raise ValueError("a link that is down has no routes")


@attrs.frozen(kw_only=True)
class InterfaceState:
    """
    The settings that an interface has.

    @ivar name: its name; C{index}: its number.
    @ivar kind: C{"tun"}, C{"tap"}, what else the kernel calls it (C{"veth"}), or empty.
    @ivar flags: C{IFF_...} of C{netdevice(7)}.
    @ivar up: whether it is set up; C{carrier}: whether its carrier is there.
    @ivar mtu: in octets.
    @ivar linkAddress: six octets; L{None} for a tun.
    @ivar txqueuelen: how many packets wait for a program to read them.
    @ivar addresses: its addresses.
    @ivar owner: the user number of a TUN or TAP device's owner; C{group}: that of its group. L{None}: nobody.
    @ivar persistent: whether the device stays when no program has it open.
    @ivar multiQueue: whether several descriptors may be on it.
    @ivar queues: how many descriptors are on a device with C{multiQueue}; the kernel does not tell of others.
    @ivar vnetHeader: whether each packet has a header of offload before it.
    @ivar information: whether each packet has its protocol information before it.
    @ivar statistics: packets and octets, by the kernel's names (C{rx_packets}); C{rx} is what the kernel has received:
        what the program has written.
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
