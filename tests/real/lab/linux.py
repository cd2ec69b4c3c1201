"""
A Linux network namespace behind the interface, which takes the place of a L{Machine<tests.real.lab.machine.Machine>}.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from threading import Thread

from tests.real.lab.link import untilHas, untilQueueStarted
from tests.real.lab.machine import ADDRESSES, ECHO, INTERFACE, KNOCK, RELAY, STATION
from tests.real.lab.namespace import Namespace, ip, tool
from txtuntap.device.linux.ioctl import SIOCETHTOOL

#: The kernel settings that change the answers and that distributions change. Each has the kernel's default value here.
SETTINGS = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/tt1/rp_filter": 0,
    "ipv4/conf/all/accept_source_route": 0,
    "ipv4/conf/tt1/accept_redirects": 1,
    "ipv4/conf/tt1/secure_redirects": 1,
    "ipv4/conf/tt1/arp_accept": 0,
    "ipv4/conf/tt1/arp_ignore": 0,
    "ipv4/conf/tt1/drop_gratuitous_arp": 0,
    "ipv4/conf/tt1/drop_unicast_in_l2_multicast": 0,
    "ipv4/icmp_echo_ignore_all": 0,
    "ipv4/icmp_echo_ignore_broadcasts": 1,
    "ipv4/icmp_echo_enable_probe": 0,
    "ipv6/conf/tt1/accept_dad": 0,
    "ipv6/conf/tt1/accept_redirects": 1,
    "ipv6/conf/tt1/accept_source_route": 0,
    "ipv6/conf/tt1/drop_unsolicited_na": 0,
    "ipv6/icmp/echo_ignore_all": 0,
    "ipv6/icmp/echo_ignore_multicast": 0,
}

#: C{linux/ethtool.h}: ETHTOOL_STXCSUM.
_ETHTOOL_STXCSUM = 0x17

_LOOPBACK: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Linux:
    """
    A context manager with a C{veth} pair to another namespace. Its echo and relay services are like those of a
    L{Machine<tests.real.lab.machine.Machine>}. The thread stays in its own namespace.

    @ivar knocking: sockets on port L{KNOCK} that are connected to port 9, by the address that they are connected to.
        They have sent nothing.
    """

    mode = "tap"

    def __init__(
        self,
        stations: dict[str, str],
        gateways: tuple[str, ...] = (),
        knockAt: tuple[str, ...] = (),
        serving: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        """
        @param stations: the link address of each neighbour, by IP address. Without these, Linux would ask for each
            neighbour before it answers.
        @param gateways: the addresses of the default gateways.
        @param knockAt: the addresses to which sockets in C{knocking} are connected.
        @param serving: a function that makes a context manager for more services in the namespace.
        """
        self._serving = serving
        self._stations = stations
        self._gateways = gateways
        self.knocking: dict[str, socket.socket] = {}
        self._knockAt = knockAt

    def __enter__(self) -> Linux:
        with ExitStack() as stack:
            self._namespace = stack.enter_context(Namespace())
            ip("link", "add", "tt1", "address", STATION, "type", "veth", "peer", "name", INTERFACE)
            ip("link", "set", INTERFACE, "netns", f"/proc/{os.getpid()}/fd/{self._namespace.outside}")
            for address in ADDRESSES:
                ip("address", "add", address, "dev", "tt1", *(["nodad"] if ":" in address else []))
            computeChecksums("tt1")
            for name, value in SETTINGS.items():
                _setting(name).write_text(str(value))
            ip("link", "set", "tt1", "up")
            batch = [f"neigh replace {address} lladdr {link} dev tt1\n" for address, link in self._stations.items()]
            batch += [f"route add default via {gateway} dev tt1\n" for gateway in self._gateways]
            subprocess.run([tool("ip"), "-batch", "-"], input="".join(batch).encode(), check=True)
            for address in self._knockAt:
                knocking = stack.enter_context(_bound(socket.AF_INET6 if ":" in address else socket.AF_INET, KNOCK))
                knocking.connect((address, 9))
                self.knocking[address] = knocking
            if self._serving is not None:
                stack.enter_context(self._serving())
            self._servers = [_Server(family) for family in _LOOPBACK]
            for server in self._servers:
                stack.callback(server.end)
            with self._namespace.stepOut():
                ip("link", "set", INTERFACE, "up")
            # The first interface of a veth pair has its carrier once the other one is up.
            untilQueueStarted("tt1")
            untilHas("tt1", *ADDRESSES)
            stack.enter_context(self._namespace.stepOut())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._stack.close()

    def heard(self) -> int:
        """
        The number of datagrams that UDP port 7 has received.
        """
        return sum(server.heard for server in self._servers)


def _bound(family: int, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind(("", port))
    return bound


def setting(name: str) -> int:
    """
    Read a kernel setting in the namespace of this thread, by its path below C{/proc/sys/net}.
    """
    return int(_setting(name).read_text().split()[0])


def _setting(name: str) -> Path:
    return Path("/proc/sys/net", name)


def computeChecksums(name: str) -> None:
    """
    Make Linux compute the checksums of packets that it sends through an interface (C{ethtool -K NAME tx off}). By
    default, a C{veth} pair carries packets without checksums.
    """
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))


class _Server:
    """
    A thread with two UDP services: an echo, and a relay that sends a datagram to each address that it receives. It ends
    when it receives a datagram from the loopback address.
    """

    def __init__(self, family: int) -> None:
        self.heard = 0
        self._family = family
        # The relay is served first. So an echo that was requested after a relay proves that the relay has sent.
        self._relay, self._echo = (_bound(family, port) for port in (RELAY, ECHO))
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._relay, self._echo:
            while True:
                for server in select.select([self._relay, self._echo], [], [])[0]:
                    data, peer = server.recvfrom(65536)
                    if peer[0] == _LOOPBACK[self._family]:
                        return
                    if server is self._relay:
                        self._write(server, b"relayed", (data.decode(), RELAY))
                    else:
                        self.heard += 1
                        self._write(server, data, peer)

    def _write(self, server: socket.socket, data: bytes, peer: tuple[str, int]) -> None:
        # An answer to one of its own addresses would arrive at the echo again, and so on for ever.
        if all(peer[0] != address.partition("/")[0] for address in ADDRESSES):
            try:
                server.sendto(data, peer)
            except OSError:
                # Some source addresses cannot be written to, such as those with port 0 or address 0.
                return

    def end(self) -> None:
        """
        End the thread of the server. This has to be called in the server's namespace.
        """
        with socket.socket(self._family, socket.SOCK_DGRAM) as client:
            client.sendto(b"", (_LOOPBACK[self._family], ECHO))
        self._thread.join()
