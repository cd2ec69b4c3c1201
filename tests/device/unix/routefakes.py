"""
A fake of the kernels of macOS, FreeBSD, OpenBSD and NetBSD at the seam of the system calls: ioctls of interfaces, the
routing socket, and C{sysctl}. The fake takes its numbers from C{constants.py} and never from the package. It checks
every octet of a request. It cannot show what a real kernel does beyond its manual pages and headers.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from tests.device.unix.constants import CONSTANTS
from tests.device.unix.routemessages import ALIGNMENTS, packedMessage, stateMessage
from tests.device.unix.routesockets import Address, Link, QuerySocket, Route, RoutingSocket, refusal

#: The value of C{sys.platform} for each platform of the fake.
PLATFORMS = {"darwin": "darwin", "freebsd": "freebsd14", "netbsd": "netbsd10", "openbsd": "openbsd7"}

#: C{IN6_IFF_NODAD} of each platform. The headers of macOS that the compilers have do not include it.
NO_DETECTION = {"darwin": 0x20, "freebsd": 0x20, "netbsd": 0x20, "openbsd": 0}


class FakeKernel:
    """
    The kernel of one platform.

    @ivar links: the interfaces by their names.
    @ivar routes: the routes.
    @ivar isRoot: whether the program may change anything.
    @ivar failures: the error with which the fake refuses each ioctl, by its name.
    @ivar routing: the open routing sockets.
    @ivar queries: the address families of the open datagram sockets, by their numbers.
    @ivar asked: the names of the ioctls and the types of the routing messages that have changed something.
    """

    def __init__(self, platform: str) -> None:
        self.platform = platform
        self.numbers = CONSTANTS[platform]
        self.links: dict[str, Link] = {}
        self.routes: list[Route] = []
        self.isRoot = True
        self.failures: dict[str, int] = {}
        self.routing: list[RoutingSocket] = []
        self.queries: dict[int, int] = {}
        self.asked: list[str] = []
        self.corrupt: bytes | None = None
        self.add("lo0", self.numbers["IFF_LOOPBACK"] | self.numbers["IFF_UP"], 16384)

    def add(self, name: str, flags: int, mtu: int = 1500, hardware: bytes = b"", neighbourFlags: int = 0) -> Link:
        """
        Add an interface to the fake.
        """
        index = max((each.index for each in self.links.values()), default=0) + 1
        flags |= self.numbers["IFF_MULTICAST"]
        link = self.links[name] = Link(name, index, flags, mtu, hardware, neighbourFlags=neighbourFlags)
        self.tell(self._stateMessage(link))
        return link

    def addTun(self) -> Link:
        """
        Add a point-to-point interface, as the platform names it.
        """
        return self.add(
            "utun3" if self.platform == "darwin" else "tun0",
            self.numbers["IFF_POINTOPOINT"] | self.numbers["IFF_RUNNING"],
        )

    def addTap(self) -> Link:
        """
        Add an Ethernet interface. FreeBSD disables IPv6 on a new one.
        """
        numbers, disabled = self.numbers, 0
        if self.platform == "freebsd":
            disabled = numbers["ND6_IFF_IFDISABLED"] | numbers["ND6_IFF_AUTO_LINKLOCAL"]
        name = "feth0" if self.platform == "darwin" else "tap0"
        return self.add(
            name, numbers["IFF_BROADCAST"] | numbers["IFF_RUNNING"], 1500, bytes.fromhex("0200000000aa"), disabled
        )

    def remove(self, name: str, silently: bool = False) -> None:
        """
        Remove an interface with its routes.
        """
        link = self.links.pop(name)
        self.routes = [each for each in self.routes if each.index != link.index]
        if not silently:
            kind = self.numbers.get("RTM_IFANNOUNCE", self.numbers["RTM_IFINFO"])
            self.tell(struct.pack("=HBB", 24, self.numbers["RTM_VERSION"], kind).ljust(24, b"\0"))

    def tell(self, message: bytes) -> None:
        """
        Send a routing message to all routing sockets.
        """
        for each in self.routing:
            try:
                each.far.send(message)
            except BlockingIOError:
                # The buffer of the socket is full, and the program learns of the lost message by an error.
                if not each.errors:
                    each.errors.append(errno.ENOBUFS)

    # The seam

    def socket(self, family: int, type: int, protocol: int = 0) -> Any:
        if family == self.numbers["PF_ROUTE"]:
            assert (type, protocol) == (socket.SOCK_RAW, 0)
            self._refuse("socket")
            opened = RoutingSocket(self)
            self.routing.append(opened)
            return opened
        assert (type, protocol) == (self.numbers["SOCK_DGRAM"], 0)
        return QuerySocket(self, family)

    def sysctl(self, names: tuple[int, ...]) -> bytes:
        numbers = self.numbers
        *first, kind, last = names
        assert (first, last) == ([numbers["CTL_NET"], numbers["PF_ROUTE"], 0, 0], 0), names
        self._refuse("sysctl")
        if self.corrupt is not None:
            return self.corrupt
        if kind == numbers["NET_RT_DUMP"]:
            return b"".join(self._routeMessage(each, 0, 0) for each in self.routes)
        assert kind == numbers["NET_RT_IFLIST"]
        found = b""
        for link in self.links.values():
            found += self._stateMessage(link)
            for address in link.addresses:
                found += self._addressMessage(link, address, "RTM_NEWADDR")
        return found

    def ioctl(self, fileno: int, number: int, request: bytes) -> bytes:
        family = self.queries[fileno]
        six = family == self.numbers["AF_INET6"]
        assert six or family == self.numbers["AF_INET"], family
        calls = {
            "SIOCGIFFLAGS": (False, self.numbers["sizeof(ifreq)"], self._getFlags),
            "SIOCSIFFLAGS": (False, self.numbers["sizeof(ifreq)"], self._setFlags),
            "SIOCSIFMTU": (False, self.numbers["sizeof(ifreq)"], self._setMTU),
            "SIOCSIFLLADDR": (False, self.numbers["sizeof(ifreq)"], self._setLinkAddress),
            "SIOCAIFADDR": (False, self.numbers["sizeof(ifaliasreq)"], self._addAddress),
            "SIOCDIFADDR": (False, self.numbers["sizeof(ifreq)"], self._deleteAddress),
            "SIOCAIFADDR_IN6": (True, self.numbers["sizeof(in6_aliasreq)"], self._addAddress6),
            "SIOCDIFADDR_IN6": (True, (self.numbers["SIOCDIFADDR_IN6"] >> 16) & 0x1FFF, self._deleteAddress6),
            "SIOCGIFINFO_IN6": (True, self.numbers.get("sizeof(in6_ndireq)", 0), self._getNeighbourFlags),
            "SIOCSIFINFO_IN6": (True, self.numbers.get("sizeof(in6_ndireq)", 0), self._setNeighbourFlags),
        }
        name = next(name for name, _ in calls.items() if self.numbers.get(name) == number and calls[name][0] == six)
        _, size, call = calls[name]
        # The size is a part of the number, by which the kernel copies the request.
        assert size == (number >> 16) & 0x1FFF, name
        assert len(request) == size, (name, len(request))
        link = self.links.get(os.fsdecode(request[:16].rstrip(b"\0")))
        if link is None:
            raise refusal(errno.ENXIO)
        if not name.startswith("SIOCG"):
            self._refuse(name)
            self.asked.append(name)
        answer = call(link, bytearray(request))
        return bytes(answer) if answer is not None else request

    def _refuse(self, name: str) -> None:
        if name in self.failures:
            raise refusal(self.failures[name])
        if not self.isRoot and name not in ("socket", "sysctl"):
            raise refusal(errno.EPERM)

    # Ioctls

    def _getFlags(self, link: Link, request: bytearray) -> bytearray:
        assert not any(request[16:])
        request[16:18] = struct.pack("=H", link.flags & 0xFFFF)
        # FreeBSD has the upper half of the flags here, which have to be given back.
        request[18:20] = struct.pack("=H", 0x1234) if self.platform == "freebsd" else b"\0\0"
        return request

    def _setFlags(self, link: Link, request: bytearray) -> None:
        assert request[18:20] == (struct.pack("=H", 0x1234) if self.platform == "freebsd" else b"\0\0")
        assert not any(request[20:])
        (link.flags,) = struct.unpack_from("=H", request, 16)
        if not link.flags & self.numbers["IFF_UP"] and self.platform == "freebsd":
            # FreeBSD removes the routes of a link that is set down.
            self.routes = [each for each in self.routes if each.index != link.index]
        self.tell(self._stateMessage(link))

    def _setMTU(self, link: Link, request: bytearray) -> None:
        (link.mtu,) = struct.unpack_from("=i", request, 16)
        assert not any(request[20:])
        self.tell(self._stateMessage(link))

    def _setLinkAddress(self, link: Link, request: bytearray) -> None:
        assert request[16:18] == bytes((6, self.numbers["AF_LINK"])), request[16:18]
        assert not any(request[24:])
        link.hardware = bytes(request[18:24])
        self.tell(self._stateMessage(link))

    def _addAddress(self, link: Link, request: bytearray) -> None:
        numbers = self.numbers
        own = self._inet(request, numbers["ifaliasreq.ifra_addr"])
        other = self._inet(request, numbers["ifaliasreq.ifra_broadaddr"])
        mask = self._inet(request, numbers["ifaliasreq.ifra_mask"])
        # FreeBSD has a number of CARP at the end.
        assert not any(request[numbers["ifaliasreq.ifra_mask"] + 16 :])
        if link.flags & numbers["IFF_POINTOPOINT"] and not other:
            raise refusal(errno.EDESTADDRREQ)
        address = Address(ip_interface(f"{own}/{mask}"), other)
        if not link.flags & numbers["IFF_POINTOPOINT"]:
            address.other = other or str(address.own.network.broadcast_address)
        self._keep(link, address)

    def _addAddress6(self, link: Link, request: bytearray) -> None:
        numbers = self.numbers
        own = self._inet6(request, numbers["in6_aliasreq.ifra_addr"])
        other = self._inet6(request, numbers.get("in6_aliasreq.ifra_dstaddr", 44))
        mask = self._inet6(request, numbers["in6_aliasreq.ifra_prefixmask"])
        flags = numbers["in6_aliasreq.ifra_flags"]
        lifetime = numbers["in6_aliasreq.ifra_lifetime"]
        assert request[flags : flags + 4] == struct.pack("=I", NO_DETECTION[self.platform])
        assert not any(request[lifetime : lifetime + 16])
        assert request[lifetime + 16 : lifetime + 24] == b"\xff" * 8
        assert not any(request[lifetime + 24 :])
        length = f"{int(ip_address(mask)):b}".count("1")
        if other and length != 128:
            raise refusal(errno.EINVAL)
        if link.neighbourFlags & numbers.get("ND6_IFF_IFDISABLED", 0):
            raise refusal(errno.EPFNOSUPPORT)
        self._keep(link, Address(ip_interface(f"{own}/{length}"), other))

    def _keep(self, link: Link, address: Address) -> None:
        for each in link.addresses:
            if each.own.ip == address.own.ip:
                raise refusal(errno.EEXIST)
        link.addresses.append(address)
        network = address.own.network
        if link.flags & self.numbers["IFF_POINTOPOINT"]:
            network = ip_network(address.other) if address.other else network
        # The kernel makes the prefix route of an IPv6 address everywhere.
        host = self.numbers["RTF_HOST"] * (network.prefixlen == network.max_prefixlen)
        if not any(each.network == network for each in self.routes):
            self.routes.append(Route(network, link.index, self.numbers["RTF_UP"] | host))
        self.tell(self._addressMessage(link, address, "RTM_NEWADDR"))

    def _deleteAddress(self, link: Link, request: bytearray) -> None:
        assert not any(request[32:])
        self._drop(link, self._inet(request, 16))

    def _deleteAddress6(self, link: Link, request: bytearray) -> None:
        assert not any(request[44:])
        self._drop(link, self._inet6(request, 16))

    def _drop(self, link: Link, own: str) -> None:
        for each in link.addresses:
            if str(each.own.ip) == own:
                link.addresses.remove(each)
                networks = each.own.network, ip_network(each.other or own)
                static = self.numbers["RTF_STATIC"]
                self.routes = [route for route in self.routes if route.flags & static or route.network not in networks]
                self.tell(self._addressMessage(link, each, "RTM_DELADDR"))
                return
        raise refusal(errno.EADDRNOTAVAIL)

    def _getNeighbourFlags(self, link: Link, request: bytearray) -> bytearray:
        assert not any(request[16:])
        # The other fields of the structure have to be given back.
        request[16:] = b"\x11" * len(request[16:])
        struct.pack_into("=I", request, self.numbers["in6_ndireq.ndi.flags"], link.neighbourFlags)
        return request

    def _setNeighbourFlags(self, link: Link, request: bytearray) -> None:
        at = self.numbers["in6_ndireq.ndi.flags"]
        assert set(request[16:at] + request[at + 4 :]) == {0x11}
        (link.neighbourFlags,) = struct.unpack_from("=I", request, at)

    def _inet(self, data: bytes | bytearray, at: int) -> str:
        """
        Parse a C{sockaddr_in}; empty text if there is none.
        """
        sockaddr = bytes(data[at : at + self.numbers["sizeof(sockaddr_in)"]])
        if not any(sockaddr):
            return ""
        assert sockaddr[:4] == bytes((16, self.numbers["AF_INET"], 0, 0)), sockaddr
        assert not any(sockaddr[8:])
        return str(ip_address(sockaddr[4:8]))

    def _inet6(self, data: bytes | bytearray, at: int, scope: int = 0) -> str:
        """
        Parse a C{sockaddr_in6}; empty text if there is none. Link-local addresses are to have a scope, in the form of
        the platform, where C{scope} is not 0.
        """
        sockaddr = bytearray(data[at : at + self.numbers["sizeof(sockaddr_in6)"]])
        if not any(sockaddr):
            return ""
        assert sockaddr[:8] == bytes((28, self.numbers["AF_INET6"], 0, 0, 0, 0, 0, 0)), sockaddr
        if scope and sockaddr[8:10] == b"\xfe\x80":
            if self.platform == "freebsd":
                assert sockaddr[24:28] == struct.pack("=I", scope)
                sockaddr[24:28] = bytes(4)
            else:
                assert sockaddr[10:12] == scope.to_bytes(2, "big")
                sockaddr[10:12] = bytes(2)
        assert not any(sockaddr[24:])
        return str(ip_address(bytes(sockaddr[8:24])))

    # Routing messages

    def _packed(self, kind: str, header: str, size: str, fields: dict[str, int], addresses: dict[str, bytes]) -> bytes:
        return packedMessage(self.platform, kind, header, size, fields, addresses)

    def _stateMessage(self, link: Link) -> bytes:
        return stateMessage(self.platform, link)

    def _bits(self, addresses: dict[str, bytes]) -> int:
        return sum(self.numbers[name] for name in addresses)

    def _addressMessage(self, link: Link, address: Address, kind: str) -> bytes:
        mask = self._sockaddr(str(address.own.netmask), 0)
        if self.platform in ("darwin", "netbsd"):
            # These kernels leave out the zero octets at the end, and the family.
            mask = mask.rstrip(b"\0")
            mask = bytes((len(mask), 255)) + mask[2:] if len(mask) > 2 else bytes(ALIGNMENTS[self.platform])
        addresses = {"RTA_NETMASK": mask, "RTA_IFA": self._sockaddr(str(address.own.ip), link.index)}
        if address.other:
            addresses["RTA_BRD"] = self._sockaddr(address.other, link.index)
        fields = {"ifam_index": link.index, "ifam_addrs": self._bits(addresses)}
        return self._packed(kind, "ifa_msghdr.", "sizeof(ifa_msghdr)", fields, addresses)

    def _sockaddr(self, address: str, index: int) -> bytes:
        packed = ip_address(address).packed
        if len(packed) == 4:
            return bytes((16, self.numbers["AF_INET"], 0, 0)) + packed + bytes(8)
        if index and packed[:2] == b"\xfe\x80" and self.platform != "freebsd":
            packed = packed[:2] + index.to_bytes(2, "big") + packed[4:]
        return bytes((28, self.numbers["AF_INET6"])) + bytes(6) + packed + bytes(4)

    def _linkSockaddr(self, index: int) -> bytes:
        size = self.numbers["sizeof(sockaddr_dl)"]
        return struct.pack("=BBH", size, self.numbers["AF_LINK"], index).ljust(size, b"\0")

    def routeRequested(self, data: bytes) -> None:
        """
        Answer a request about a route. The answer goes to all routing sockets, as on the real systems.
        """
        numbers = self.numbers
        size = numbers["sizeof(rt_msghdr)"]
        assert struct.unpack_from("=H", data) == (len(data),)
        assert data[2] == numbers["RTM_VERSION"]
        kind = data[numbers["rt_msghdr.rtm_type"]]
        used = {0, 1, 2, 3}
        values = {}
        for name in "flags", "addrs", "seq", "pid":
            at = numbers[f"rt_msghdr.rtm_{name}"]
            (values[name],) = struct.unpack_from("=I", data, at)
            used |= set(range(at, at + 4))
        if self.platform == "openbsd":
            assert struct.unpack_from("=H", data, numbers["rt_msghdr.rtm_hdrlen"]) == (size,)
            used |= {4, 5}
        assert not any(data[at] for at in range(size) if at not in used), data[:size]
        assert values["pid"] == os.getpid()
        parts: dict[str, bytes] = {}
        at, bits = size, values["addrs"]
        for name in "RTA_DST", "RTA_GATEWAY", "RTA_NETMASK", "RTA_IFP", "RTA_IFA":
            if bits & numbers[name]:
                bits &= ~numbers[name]
                parts[name] = data[at : at + data[at]]
                end = at + -(-data[at] // ALIGNMENTS[self.platform]) * ALIGNMENTS[self.platform]
                assert not any(data[at + data[at] : end])
                at = end
        assert (bits, at) == (0, len(data))
        network = self._network(parts, values["flags"], self._index(parts))
        if kind == numbers["RTM_GET"]:
            self._answer(network, "RTA_NETMASK" in parts, values)
        else:
            self._changeRoute(kind, network, parts, values["flags"])

    def _index(self, parts: dict[str, bytes]) -> int:
        (index,) = struct.unpack_from("=H", parts["RTA_IFP"], self.numbers["sockaddr_dl.sdl_index"])
        assert parts["RTA_IFP"] == self._linkSockaddr(index)
        return int(index)

    def _ip(self, sockaddr: bytes, scope: int = 0) -> str:
        return self._inet(sockaddr, 0) if sockaddr[1] == self.numbers["AF_INET"] else self._inet6(sockaddr, 0, scope)

    def _network(self, parts: dict[str, bytes], flags: int, index: int) -> Any:
        destination = ip_address(self._ip(parts["RTA_DST"], index))
        if "RTA_NETMASK" not in parts:
            return ip_network(destination)
        mask = int.from_bytes(ip_address(self._ip(parts["RTA_NETMASK"])).packed, "big")
        assert not flags & self.numbers["RTF_HOST"]
        return ip_network(f"{destination}/{f'{mask:b}'.count('1')}")

    def _answer(self, network: Any, isExact: bool, values: dict[str, int]) -> None:
        same = [each for each in self.routes if each.network.version == network.version]
        if isExact:
            fitting = [each for each in same if each.network == network]
        else:
            fitting = [each for each in same if network.network_address in each.network]
        if not fitting:
            raise refusal(errno.ESRCH)
        route = max(fitting, key=lambda each: each.network.prefixlen)
        # A message to another process precedes the answer.
        for pid in values["pid"] + 1, values["pid"]:
            self.tell(self._routeMessage(route, pid, values["seq"]))

    def _routeMessage(self, route: Route, pid: int, sequence: int) -> bytes:
        link = self._linkSockaddr(route.index)
        addresses = {
            "RTA_DST": self._sockaddr(str(route.network.network_address), route.index),
            "RTA_GATEWAY": self._sockaddr(route.gateway, route.index) if route.gateway else link,
            "RTA_IFP": link,
        }
        if not route.flags & self.numbers["RTF_HOST"]:
            addresses["RTA_NETMASK"] = self._sockaddr(str(route.network.netmask), 0)
        fields = {
            "rtm_index": route.index,
            "rtm_flags": route.flags,
            "rtm_addrs": self._bits(addresses),
            "rtm_pid": pid,
            "rtm_seq": sequence,
        }
        return self._packed("RTM_GET", "rt_msghdr.", "sizeof(rt_msghdr)", fields, addresses)

    def _changeRoute(self, kind: int, network: Any, parts: dict[str, bytes], flags: int) -> None:
        numbers = self.numbers
        names = {numbers["RTM_ADD"]: "RTM_ADD", numbers["RTM_DELETE"]: "RTM_DELETE"}
        self._refuse(names[kind])
        self.asked.append(names[kind])
        index = self._index(parts)
        assert flags & ~(numbers["RTF_GATEWAY"] | numbers["RTF_HOST"]) == numbers["RTF_UP"] | numbers["RTF_STATIC"]
        assert bool(flags & numbers["RTF_HOST"]) == (network.prefixlen == network.max_prefixlen)
        gateway = ""
        if parts["RTA_GATEWAY"][1] == numbers["AF_LINK"]:
            assert parts["RTA_GATEWAY"] == self._linkSockaddr(index)
            assert not flags & numbers["RTF_GATEWAY"]
            # OpenBSD knows an interface by an address of its own.
            assert self.platform != "openbsd"
        else:
            gateway = self._ip(parts["RTA_GATEWAY"], index)
        link = next(each for each in self.links.values() if each.index == index)
        if not flags & numbers["RTF_GATEWAY"] and gateway:
            assert gateway in [str(each.own.ip) for each in link.addresses]
        same = [each for each in self.routes if each.network == network]
        if kind == numbers["RTM_DELETE"]:
            if not same:
                raise refusal(errno.ESRCH)
            self.routes.remove(same[0])
            return
        if same:
            raise refusal(errno.EEXIST)
        source = self._ip(parts["RTA_IFA"], index) if "RTA_IFA" in parts else ""
        self.routes.append(Route(network, index, flags, gateway, source))
