"""
The rules that say which user may have which interface from the helper (L{txtuntap.device.helper}), and the check of a
request.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import ip_network

import attrs

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.helper.credentials import peerCredentials
from txtuntap.device.settings import (
    MIN_MTU_6,
    InterfaceAddress,
    InterfaceRoute,
    InterfaceSettings,
    InterfaceState,
    groupNumber,
    userNumber,
)
from txtuntap.layer.prefixes import Network, PrefixTable, prefixSet

#: The settings that a program may request. Owner, group and persistence are not allowed, because the device has to end
#: with its program. The helper hardens every interface, even if the request does not say so.
_SETTINGS = {"addresses", "routes", "neighbours", "mtu", "linkAddress", "up", "txqueuelen", "hardened"}

#: The largest number of addresses, routes and neighbours in a request. Each costs a request to the kernel, and the
#: requests of other programs wait for that.
MAX_SETTINGS = 64
_LISTS = "addresses", "routes", "neighbours"

#: The largest C{txqueuelen} that is allowed. The kernel allocates the whole queue at once, even for millions
#: of packets.
_MAX_TXQUEUELEN = 10_000

_MODES = {"tun": TUN, "tap": TAP}


@attrs.frozen
class Peer:
    """
    The process that has connected to the helper.

    @ivar process: the process number.
    @ivar user: the user number.
    @ivar groups: the numbers of the user's groups.
    """

    process: int
    user: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """
        Ask the kernel which process has called C{connect}. Another process may have the socket by now.

        @raise OSError: as for L{peerCredentials}.
        """
        return cls(*peerCredentials(connection))

    def __str__(self) -> str:
        return f"process {self.process} of user {self.user}"


@attrs.frozen
class Rule:
    """
    A rule that says which users may have which interfaces.

    @ivar text: the rule as it was given.
    @ivar user: the user number; C{None}: the rule is about C{group}.
    @ivar group: the group number; C{None}: the rule is about C{user}.
    @ivar names: patterns of interface names, as in a shell (C{vpn*}). A pattern with C{%d} matches only requests in
        which the kernel chooses the number.
    @ivar networks: the networks that must contain the interface's addresses and neighbours, and the destinations,
        gateways and sources of its routes.
    """

    text: str
    user: int | None
    group: int | None
    names: tuple[str, ...]
    networks: PrefixTable[None]

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, text: str) -> Rule:
        """
        Parse the text of a rule.

        @param text: C{WHO:NAMES} or C{WHO:NAMES:NETWORKS}. WHO is a user, or C{@} and a group. The others are lists
            separated by commas.

        @raise ValueError: the text is not a rule, or there is no such user or group.
        """
        who, _, rest = text.partition(":")
        names, _, networks = rest.partition(":")
        if not who.strip("@") or not all(names.split(",")):
            raise ValueError(f"{text!r} is not a rule: give WHO:NAMES or WHO:NAMES:NETWORKS, such as alice:vpn*")
        return cls(
            text,
            None if who.startswith("@") else userNumber(who),
            groupNumber(who[1:]) if who.startswith("@") else None,
            tuple(names.split(",")),
            prefixSet(networks.split(",") if networks else ()),
        )

    def appliesTo(self, peer: Peer) -> bool:
        """
        Whether this rule is about the user of C{peer}, or about one of the user's groups.
        """
        return self.user == peer.user or self.group in peer.groups

    def permits(self, peer: Peer, name: str, given: str | None = None) -> bool:
        """
        Whether this rule lets C{peer} have an interface.

        @param name: the name in the request, which may contain C{%d}.
        @param given: the interface's name, in which the kernel has replaced C{%d}; C{None}: not known yet.
        """
        # A pattern with C{%d} matches only requests in which the kernel chooses the number.
        return self.appliesTo(peer) and any(
            fnmatchcase(name, pattern) and (given is None or fnmatchcase(given, pattern.replace("%d", "[0-9]*")))
            for pattern in self.names
        )

    def refused(self, settings: InterfaceSettings) -> str | None:
        """
        Find a setting that this rule does not allow.

        @return: the reason in words; C{None}: the rule allows all of them.
        """
        if settings.txqueuelen is not None and settings.txqueuelen > _MAX_TXQUEUELEN:
            return f"a txqueuelen of {settings.txqueuelen} is more than {_MAX_TXQUEUELEN}"
        for network in _networksIn(settings):
            # With another network, the program would receive packets that are meant for others.
            if not self.networks.covers(network):
                return f"{network} is in none of the networks that are allowed"
        return None


def _networksIn(settings: InterfaceSettings) -> Iterable[Network]:
    """
    List all networks in the settings of an interface: those of its addresses, peers, broadcast addresses and
    neighbours, and those of the destinations, gateways and sources of its routes.
    """
    for address in settings.addresses:
        yield ip_network(f"{address.interface.ip}")
        yield ip_network(f"{address.peer or address.interface.ip}/{address.prefixLength}", strict=False)
        if address.broadcast is not None:
            yield ip_network(address.broadcast)
    for route in settings.routes:
        yield ip_network(route.network)
        # Packets that use the route are sent to its gateway, and have its source as their source address.
        for other in route.source, route.gateway:
            if other is not None:
                yield ip_network(other)
    for neighbour in settings.neighbours:
        yield ip_network(neighbour)


def checkAvailable(state: InterfaceState, peer: Peer, ours: int) -> None:
    """
    Check that an existing device may be given to a program. The helper has to check the owner and the group itself,
    because the kernel lets the helper open every device.

    @param state: the present state of the interface.
    @param peer: the program.
    @param ours: the number of descriptors of the helper that are attached to the device.

    @raise OSError: the device belongs to another user (C{EPERM}), or is in use (C{EBUSY}).
    """
    if state.owner not in (None, peer.user) or state.group not in (None, *peer.groups):
        raise OSError(errno.EPERM, f"{state.name} belongs to another owner or group than those of user {peer.user}")
    if state.multiQueue and state.queues > ours:
        # The kernel would distribute the packets among all descriptors. A device without multiQueue can have only one,
        # so that attaching to it fails while it is in use.
        raise OSError(errno.EBUSY, f"{state.name} is in use: stop the program that uses it, or name another")


def irreversible(state: InterfaceState, settings: InterfaceSettings) -> str | None:
    """
    Find a setting that would remove something from an existing interface that the helper could not restore.

    @param state: the state of the interface before any change.
    @param settings: the settings that a program requests.

    @return: the loss in words; C{None}: there is none.
    """
    if settings.up is False and state.up:
        return "if it is set down, it loses its routes and IPv6 addresses"
    if settings.up and not state.up and any(address.interface.version == 6 for address in state.addresses):
        return "if it is set up now and down in the end, it loses its IPv6 addresses: set it up beforehand"
    if settings.mtu is not None and settings.mtu < MIN_MTU_6 <= state.mtu:
        return f"with an MTU under {MIN_MTU_6} it loses its IPv6 addresses"
    if settings.linkAddress not in (None, state.linkAddress):
        return "with another link address it loses its neighbours"
    if settings.neighbours:
        return "it may have the same neighbours already, and would lose them in the end"
    return None


@attrs.frozen
class DeviceRequest:
    """
    A program's request for a device.

    @ivar name: the interface's name, which may contain C{%d}.
    @ivar mode: C{TUN} or C{TAP}.
    @ivar settings: the settings to apply; C{None}: none.
    """

    name: str
    mode: int
    settings: InterfaceSettings | None

    @classmethod
    def of(cls, line: bytes) -> DeviceRequest:
        """
        Parse and check a request.

        @param line: a line of JSON, which nothing has checked yet.

        @raise ValueError: the line is not a request, or has a setting that is not valid or not allowed.
        """
        try:
            fields = json.loads(line)
            settings = fields["settings"]
            if settings is not None:
                settings = dict(settings)
                if settings.keys() - _SETTINGS:
                    raise ValueError(f"the helper does not set {', '.join(sorted(settings.keys() - _SETTINGS))}")
                if sum(len(settings.get(name, ())) for name in _LISTS) > MAX_SETTINGS:
                    raise ValueError(f"the request has more than {MAX_SETTINGS} {', '.join(_LISTS)}")
                for name, kind in ("addresses", InterfaceAddress), ("routes", InterfaceRoute):
                    settings[name] = [kind(**each) for each in settings.get(name, ())]
                if any(route.table is not None for route in settings["routes"]):
                    # Policy rules of other programs may use that table.
                    raise ValueError("the helper adds routes to the main table only: leave out their table")
                settings = InterfaceSettings(**settings)
            name = os.fsdecode(interfaceName(fields["name"]))
            if not (name.isascii() and name.isprintable()):
                # The name becomes part of log lines.
                raise ValueError(f"the helper makes no interface with the name {name!r}: use printable ASCII")
            if name.replace("%d", "", 1).count("%"):
                raise ValueError(f"the name {name!r} has more than one %d, or another %: give '%d' at most once")
            return cls(name, _MODES[fields["mode"]], settings)
        except ValueError:
            raise
        except (AttributeError, KeyError, TypeError, RecursionError) as e:
            raise ValueError(f"the line is not a request: {e!r}") from e
