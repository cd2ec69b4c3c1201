"""
The permission to have an interface of the helper's (L{txtuntap.device.helper}), by rules, and the check of a request.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import ip_network

import attrs

from txtuntap.device import TAP, TUN, interfaceName
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

#: C{asm-generic/socket.h}.
_SO_PEERGROUPS = 59

#: The most octets that Python takes from C{getsockopt}: 256 groups.
_MAX_OPTION = 1024

#: Settings that may be asked for. Owner, group and persistence are not among them, because a device is to go with its
#: program. Every interface is hardened, whether that is asked for or not.
_SETTINGS = {"addresses", "routes", "neighbours", "mtu", "linkAddress", "up", "txqueuelen", "hardened"}

#: The most of these in a request: each is a question to the kernel, and others wait for as long.
MAX_SETTINGS = 64
_LISTS = "addresses", "routes", "neighbours"

#: The kernel keeps room for so many packets at once, and would for millions.
_MAX_TXQUEUELEN = 10_000

_MODES = {"tun": TUN, "tap": TAP}


@attrs.frozen
class Peer:
    """
    The process at the other end of a connection.

    @ivar process: the process number; C{user}: the user number; C{groups}: the numbers of the user's groups.
    """

    process: int
    user: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """
        Ask the kernel (C{unix(7)}). It tells who called C{connect}, whoever has the socket by now.
        """
        process, user, group = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION)
        except OSError:
            # The user is in more groups, or this machine has another number for that: then the first group counts.
            packed = b""
        return cls(process, user, frozenset((group, *struct.unpack(f"{len(packed) // 4}I", packed))))

    def __str__(self) -> str:
        return f"process {self.process} of user {self.user}"


@attrs.frozen
class Rule:
    """
    A rule that says who may have which interfaces.

    @ivar text: the rule, as it was given.
    @ivar user: a user number; or L{None}, where it is about a C{group}.
    @ivar names: patterns of interface names, as in a shell (C{vpn*}); those with C{%d} are for names that the kernel
        puts a number in.
    @ivar networks: those that addresses, routes, their sources and gateways, and neighbours of the interface must be
        within.
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
        @param text: C{WHO:NAMES} or C{WHO:NAMES:NETWORKS}. WHO is a user, or a group behind an C{@}; the others are
            lists with commas.

        @raise ValueError: it is no rule.
        """
        who, _, rest = text.partition(":")
        names, _, networks = rest.partition(":")
        if not who.strip("@") or not all(names.split(",")):
            raise ValueError(f"{text!r} is no rule: give WHO:NAMES or WHO:NAMES:NETWORKS, such as alice:vpn*")
        return cls(
            text,
            None if who.startswith("@") else userNumber(who),
            groupNumber(who[1:]) if who.startswith("@") else None,
            tuple(names.split(",")),
            prefixSet(networks.split(",") if networks else ()),
        )

    def isAbout(self, peer: Peer) -> bool:
        """
        Whether this is a rule for somebody.
        """
        return self.user == peer.user or self.group in peer.groups

    def isFor(self, peer: Peer, name: str, given: str | None = None) -> bool:
        """
        Whether this lets somebody have an interface.

        @param name: what is asked for.
        @param given: what it is called, with a number in place of C{%d}; L{None}: that is not known yet.
        """
        # A pattern with C{%d} in it is for names that the kernel numbers, and for no others.
        return self.isAbout(peer) and any(
            fnmatchcase(name, pattern) and (given is None or fnmatchcase(given, pattern.replace("%d", "[0-9]*")))
            for pattern in self.names
        )

    def refused(self, settings: InterfaceSettings) -> str | None:
        """
        Find a setting that this rule does not allow.
        """
        if settings.txqueuelen is not None and settings.txqueuelen > _MAX_TXQUEUELEN:
            return f"a txqueuelen of {settings.txqueuelen} is more than {_MAX_TXQUEUELEN}"
        for network in _reached(settings):
            # The interface would draw to itself what is for others.
            if not self.networks.covers(network):
                return f"{network} is in none of the networks that are allowed"
        return None


def _reached(settings: InterfaceSettings) -> Iterable[Network]:
    """
    All networks that the kernel would send to an interface for these settings, or by way of, or take for its own.
    """
    for address in settings.addresses:
        yield ip_network(f"{address.interface.ip}")
        yield ip_network(f"{address.peer or address.interface.ip}/{address.prefixLength}", strict=False)
        if address.broadcast is not None:
            yield ip_network(address.broadcast)
    for route in settings.routes:
        yield ip_network(route.network)
        # Packets by the route would come from there, or go there.
        for other in route.source, route.gateway:
            if other is not None:
                yield ip_network(other)
    for neighbour in settings.neighbours:
        yield ip_network(neighbour)


def checkWhose(state: InterfaceState, peer: Peer, ours: int) -> None:
    """
    Whether somebody may have a device that is there, if a rule lets them. The kernel would give any to the helper.

    @param state: what it is now.
    @param ours: how many descriptors the helper has on it.

    @raise OSError: it is another's (C{EPERM}), or in use (C{EBUSY}).
    """
    if state.owner not in (None, peer.user) or state.group not in (None, *peer.groups):
        raise OSError(errno.EPERM, f"{state.name} is another's: its owner or group is not of user {peer.user}")
    if state.multiQueue and state.queues > ours:
        # The kernel would share packets out among all that are on it. Others it gives to one only.
        raise OSError(errno.EBUSY, f"{state.name} is in use: stop that program, or name another interface")


def irreversible(state: InterfaceState, settings: InterfaceSettings) -> str | None:
    """
    Find a setting that would take something from an interface that was there, and could not be undone.

    @param state: the interface, before anything is set.

    @return: in words; L{None}: nothing.
    """
    if settings.up is False and state.up:
        return "set down, it would lose its routes and IPv6 addresses"
    if settings.up and not state.up and any(address.interface.version == 6 for address in state.addresses):
        return "set up, and down again in the end, it would lose its IPv6 addresses: have it set up beforehand"
    if settings.mtu is not None and settings.mtu < MIN_MTU_6 <= state.mtu:
        return f"with an MTU under {MIN_MTU_6} it would lose its IPv6 addresses"
    if settings.linkAddress not in (None, state.linkAddress):
        return "with another link address it would lose its neighbours"
    if settings.neighbours:
        return "it may have such neighbours, and would lose them"
    return None


@attrs.frozen
class Asked:
    """
    A request.
    """

    name: str
    mode: int
    settings: InterfaceSettings | None

    @classmethod
    def of(cls, line: bytes) -> Asked:
        """
        @param line: anything.

        @raise ValueError: it is no request, or asks for what cannot be.
        """
        try:
            fields = json.loads(line)
            settings = fields["settings"]
            if settings is not None:
                settings = dict(settings)
                if settings.keys() - _SETTINGS:
                    raise ValueError(f"the helper does not set {', '.join(sorted(settings.keys() - _SETTINGS))}")
                if sum(len(settings.get(name, ())) for name in _LISTS) > MAX_SETTINGS:
                    raise ValueError(f"that is more than {MAX_SETTINGS} {', '.join(_LISTS)}")
                for name, kind in ("addresses", InterfaceAddress), ("routes", InterfaceRoute):
                    settings[name] = [kind(**each) for each in settings.get(name, ())]
                settings = InterfaceSettings(**settings)
            name = os.fsdecode(interfaceName(fields["name"]))
            if not (name.isascii() and name.isprintable()):
                # It is logged.
                raise ValueError(f"the helper makes no interface of the name {name!r}")
            if name.replace("%d", "", 1).count("%"):
                raise ValueError(f"the kernel puts one number in place of one %d, not in {name!r}")
            return cls(name, _MODES[fields["mode"]], settings)
        except ValueError:
            raise
        except (AttributeError, KeyError, TypeError, RecursionError) as e:
            raise ValueError(f"that is no request: {e!r}") from e
