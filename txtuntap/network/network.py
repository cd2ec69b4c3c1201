"""
A simulated network of hosts, switches, and links with faults. A few lines set it up::

    with Network(seed=1) as net:
        switch = net.switch()
        near = net.host("10.0.0.1/24", switch)
        far = net.host("10.0.0.2/24", switch, "delay 20ms loss 10%")
        pong = net.result(near.ping("10.0.0.2"))

The network is in memory, and its time passes only when L{Network.run} or L{Network.result} is called. An idle hour
therefore takes no real time. The same seed gives the same result, packet for packet. On the reactor in place of a
L{SimulationClock}, interfaces of the kernel can be part of the network (L{Network.tap}).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from random import Random
from types import TracebackType
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from txtuntap.device.settings import InterfaceSettings, unreached
from txtuntap.middleware import Impairment, Netem
from txtuntap.mistakes import checkClock, checkKind, checkMTU, listed
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.stack.host import Host
from txtuntap.switch.port import SwitchPort
from txtuntap.switch.switch import Switch
from txtuntap.tuntap import TuntapPort
from txtuntap.wire.address import addressText

_T = TypeVar("_T")

#: The default VLAN of a switch's port, whose frames have no tag.
_UNTAGGED = 1


class Network:
    """
    A network of hosts, switches, and links between them, which are started and stopped together. A part that is added
    to a started network is started at once.

    @ivar clock: the clock of the whole network: a L{SimulationClock} or the reactor.
    @ivar switches: the switches that L{switch} has made.
    @ivar hosts: the hosts that L{host} has made.
    @ivar links: the links that L{link} has made.
    @ivar taps: the ports that L{tap} has made, on interfaces of the kernel.
    """

    def __init__(self, seed: int = 0, clock: IReactorTime | None = None) -> None:
        """
        @param seed: the seed of all random numbers. These numbers are predictable, so a host that talks to peers
            outside of the simulation needs a C{random} and C{secrets} of its own.
        @param clock: the reactor, for a network that runs in real time; by default, a L{SimulationClock}.
        """
        if clock is not None:
            checkClock(clock)
        self.clock: Any = SimulationClock() if clock is None else clock
        # Hosts and links have separate sources, so that the random numbers of hosts do not change the faults of links.
        self._hostRandom = Random(f"hosts {seed}")
        self._linkRandom = Random(f"links {seed}")
        self.switches: list[Switch] = []
        self.hosts: list[Host] = []
        self.links: list[Link] = []
        self.taps: list[TuntapPort] = []
        self._settings: dict[TuntapPort, InterfaceSettings | None] = {}
        # The impairments by the id() of the object that impairment() is called with. These objects live as long as the
        # network, so that no id() is used again.
        self._impairments: dict[int, Impairment] = {}
        # The segment of each switch, by the id() of the switch's table.
        self._segments: dict[int, _Segment] = {}
        self._isStarted = False

    # Parts of the network

    def switch(self, **options: Any) -> Switch:
        """
        Add a new L{Switch} to the network.

        @param options: keyword arguments of L{Switch}.
        """
        switch = Switch(self.clock, **options)
        self.switches.append(switch)
        return switch

    def host(
        self,
        addresses: str | Iterable[str],
        at: Any = None,
        netem: Netem | str | None = None,
        up: Netem | str | None = None,
        down: Netem | str | None = None,
        mtu: int = 1500,
        **options: Any,
    ) -> Host:
        """
        Add a new L{Host} to the network.

        @param addresses: the addresses of the host, in CIDR notation: one, or a list.
        @param at: the other end of the host's link, as for L{link}; C{None}: the host is not linked yet.
        @param netem: the faults in both directions of the link: see L{link}.
        @param up: the faults of packets to the host.
        @param down: the faults of packets from the host.
        @param mtu: the most octets of an IP packet on the link.
        @param options: further keyword arguments of L{Host}, such as C{gateways}.

        @raise TypeError: the host cannot be linked to C{at}.
        @raise ValueError: an argument is wrong, or an address is used already: see L{link}.
        """
        given = [addresses] if isinstance(addresses, str) else listed(addresses, "addresses", "10.0.0.2/24")
        host = Host(given, self.clock, **{"random": self._hostRandom, "secrets": self._hostRandom, **options})
        if at is not None:
            self.link(host, at, netem, up, down, mtu)
        self.hosts.append(host)
        return host

    def link(
        self,
        one: Any,
        other: Any,
        netem: Netem | str | None = None,
        up: Netem | str | None = None,
        down: Netem | str | None = None,
        mtu: int = 1500,
    ) -> Link:
        """
        Link two parts of the network.

        @param one: a L{Host}; a L{Switch}, which gets a new port; a port of a switch (C{switch.addPort(vlan=10)}); or
            any C{IEthernetProtocol} or C{IRawPacketProtocol}, such as a host's C{ip}.
        @param other: the other end of the link, given in the same ways.
        @param netem: the faults of the link in both directions: a L{Netem}, or its text, such as
            C{"delay 20ms loss 10%"}. L{impairment} changes them later.
        @param up: the faults of packets to C{one}, in place of C{netem}.
        @param down: the faults of packets to C{other}, in place of C{netem}.
        @param mtu: the most octets of an IP packet on the link.

        @return: the link, which is started if the network is.

        @raise TypeError: the two parts cannot be linked.
        @raise ValueError: the faults cannot be parsed, or C{mtu} is out of range; two hosts on the link, or on one VLAN
            of connected switches, have the same address; or the two switches are connected already, directly or through
            others, so that frames would circulate for ever. (To connect another VLAN of them, link ports of that VLAN.)
        """
        impair = self._impair(netem, up, down)
        checkMTU(mtu)
        if isinstance(one, Switch) and isinstance(other, Switch):
            self._joinSegments(one, other)
        self._checkAddresses(one, other)
        end = impair(_end(one))
        link = Link(end, _end(other), self.clock, mtu)
        self._addAddresses(one, other)
        self.links.append(link)
        if isinstance(end, Impairment):
            self._impairments[id(one)] = self._impairments[id(link)] = end
        if self._isStarted:
            link.start()
        return link

    def tap(
        self,
        name: str,
        at: Any,
        netem: Netem | str | None = None,
        up: Netem | str | None = None,
        down: Netem | str | None = None,
        namespace: str | int | None = None,
        settings: InterfaceSettings | None = None,
    ) -> TuntapPort:
        """
        Add a tap interface of the kernel to the network. The network has to run on the reactor.

        @param name: the name of the interface.
        @param at: the part of the network that the interface is linked to, as for L{link}.
        @param netem: the faults in both directions, as for L{link}.
        @param up: the faults of packets from the interface, in place of C{netem}.
        @param down: the faults of packets to the interface, in place of C{netem}.
        @param namespace: the network namespace of the interface: a name that C{ip netns} gave, a path, or a descriptor.
            C{None}: the namespace of this process.
        @param settings: the configuration of the interface, such as C{InterfaceSettings(addresses=["10.0.0.3/24"])}.

        @return: the port, which is started if the network is.

        @raise RuntimeError: the network has a L{SimulationClock}, and not the reactor.
        @raise ValueError: an address is used already, or the faults or settings are wrong.
        """
        if isinstance(self.clock, SimulationClock):
            raise RuntimeError("an interface of the kernel needs real time: make the network by Network(clock=reactor)")
        from txtuntap.device import TAP
        from txtuntap.device.choice import makeDevice

        if settings is not None:
            checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.3/24'])")
            self._checkAddresses(settings, at)
            if isinstance(at, Host):
                lost = unreached(settings.addresses, settings.routes, at.ip.addresses)
                if lost is not None:
                    raise ValueError(f"settings: {lost}")
        device = makeDevice(name, TAP, namespace=namespace)
        end = self._impair(netem, up, down)(_end(at))
        tap = TuntapPort(name, end, reactor=self.clock, device=device)
        self.taps.append(tap)
        self._addAddresses(settings, at)
        if isinstance(end, Impairment):
            self._impairments[id(tap)] = end
        self._settings[tap] = settings
        if self._isStarted:
            self._startTap(tap)
        return tap

    def impairment(self, of: Any) -> Impairment:
        """
        Return the impairment of a link. Another L{Netem} can be assigned to its C{up} and C{down} at any time, and its
        C{counters} count the faults.

        @param of: the result of L{link} or L{tap}; or a host, or another first argument of L{link}, for the latest
            impaired link of that part.

        @raise KeyError: the link has no impairment, because it was made without faults.
        """
        try:
            return self._impairments[id(of)]
        except KeyError:
            raise KeyError(f"no link of {of!r} has faults: give it a netem when it is made") from None

    # Start and stop

    def start(self) -> None:
        """
        Start all parts of the network. If one fails to start, the others are stopped again.

        @raise RuntimeError: the network is started already.
        @raise CannotListenError: an interface cannot be opened.
        @raise OSError: an interface cannot be configured.
        """
        if self._isStarted:
            raise RuntimeError("this network is started already")
        self._isStarted = True
        try:
            for link in self.links:
                link.start()
            for tap in self.taps:
                self._startTap(tap)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> Deferred[None]:
        """
        Stop all parts of the network. Stopping twice is harmless.

        @return: a Deferred that fires when the interfaces are closed, or at once if there are none.
        """
        self._isStarted = False
        for link in self.links:
            link.stop()
        return gatherResults([tap.stopListening() for tap in self.taps]).addCallback(lambda _: None)

    def __enter__(self) -> Network:
        """
        Start the network for a C{with} statement.
        """
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        Stop the network at the end of a C{with} statement.
        """
        self.stop()

    # Time

    def run(self, seconds: float) -> None:
        """
        Let simulated time pass.

        @param seconds: the number of seconds that pass.

        @raise RuntimeError: the network runs on the reactor, in real time.
        """
        self._simulation().advance(seconds)

    def result(self, waited: Deferred[_T] | Coroutine[Deferred[Any], Any, _T], limit: float = 3600.0) -> _T:
        """
        Let simulated time pass until a Deferred or a coroutine has a result. If it fails, its exception is raised.

        @param waited: a Deferred, or a coroutine that awaits Deferreds.
        @param limit: the most simulated seconds that may pass.

        @return: the result.

        @raise TimeoutError: (Python's own) there is no result in time, or no call is scheduled that could lead to one.
        @raise RuntimeError: the network runs on the reactor, in real time.
        """
        clock = self._simulation()
        results: list[Any] = []
        deferred = waited if isinstance(waited, Deferred) else Deferred.fromCoroutine(waited)

        def keep(result: Any) -> Any:
            results.append(result)
            return None if isinstance(result, Failure) else result

        deferred.addBoth(keep)
        deadline = clock.seconds() + limit
        while not results:
            wait = clock.untilNext()
            if wait is None:
                raise TimeoutError("no result, and nothing is left to happen: no call is scheduled")
            if clock.seconds() + wait > deadline:
                raise TimeoutError(f"no result within {limit:g} seconds")
            clock.advance(wait)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: _T = results[0]
        return result

    def _simulation(self) -> SimulationClock:
        if not isinstance(self.clock, SimulationClock):
            raise RuntimeError("on the reactor, time passes by itself: await the result in place of this call")
        return self.clock

    def _startTap(self, tap: TuntapPort) -> None:
        tap.startListening()
        settings = self._settings[tap]
        if settings is not None:
            from txtuntap.device.configure import configureNow

            device: Any = tap.device
            configureNow(device.name, settings, device)

    def _joinSegments(self, one: Switch, other: Switch) -> None:
        """
        Join the segments of two switches that are linked.

        @raise ValueError: they are on one segment already, or one address is on both segments.
        """
        joined, others = (self._segment(each) for each in (one, other))
        if joined is others:
            raise ValueError(
                "these switches are connected already, and a loop would multiply broadcasts for ever, since there is no"
                " spanning tree: leave out this link"
            )
        # The ports of this link pass only untagged frames, so the same address may exist on other VLANs.
        for address in joined.addresses.keys() & others.addresses.keys():
            if address[0] == _UNTAGGED:
                raise _duplicateAddress(address[1])
        joined.switches |= others.switches
        joined.addresses.update(others.addresses)
        for each in others.switches:
            self._segments[each] = joined

    def _segment(self, at: Switch | SwitchPort) -> _Segment:
        # A switch and its ports share one table, whose id() names the switch.
        switch = id(at.table)
        return self._segments.setdefault(switch, _Segment({switch}, {}))

    def _checkAddresses(self, one: Any, other: Any) -> None:
        """
        Check that two parts that are to be linked share no address with each other, or with the segment they join.

        @raise ValueError: an address is used already.
        """
        for address in _addresses(one) & _addresses(other):
            raise _duplicateAddress(address)
        for end, at in (one, other), (other, one):
            place = self._place(at)
            if place is not None:
                segment, vlan = place
                for address in _addresses(end):
                    if segment.addresses.get((vlan, address), end) is not end:
                        raise _duplicateAddress(address)

    def _addAddresses(self, one: Any, other: Any) -> None:
        """
        Add the addresses of two parts that are linked to the segments that they join.
        """
        for end, at in (one, other), (other, one):
            place = self._place(at)
            if place is not None:
                segment, vlan = place
                segment.addresses.update({(vlan, address): end for address in _addresses(end)})

    def _place(self, at: Any) -> tuple[_Segment, int] | None:
        """
        Return the segment and the VLAN of untagged frames at a switch, or at a port of one; C{None} for other parts,
        and for a port without untagged frames.
        """
        if isinstance(at, Switch):
            return self._segment(at), _UNTAGGED
        if isinstance(at, SwitchPort) and at.untagged is not None:
            return self._segment(at), at.untagged
        return None

    def _impair(
        self, netem: Netem | str | None, up: Netem | str | None, down: Netem | str | None
    ) -> Callable[[Any], Any]:
        """
        Parse the faults of a link.

        @return: a function that wraps the protocol at an end of the link in an impairment with these faults. Without
            faults, the function returns the protocol itself.

        @raise ValueError: the faults cannot be parsed.
        """
        netems = _netem(netem), _netem(up), _netem(down)
        if netems == (None, None, None):
            return lambda end: end
        return lambda end: Impairment(end, *netems, self._linkRandom)


@attrs.define(eq=False)
class _Segment:
    """
    A set of connected switches, and the addresses of the hosts on them.

    @ivar switches: the id() of each switch's table.
    @ivar addresses: the part that has each address, by the number of its VLAN and the packed address.
    """

    switches: set[int]
    addresses: dict[tuple[int, bytes], Any]


def _addresses(of: Any) -> set[bytes]:
    """
    Return the packed addresses of a host, or of an interface's settings; none for other parts.
    """
    if isinstance(of, Host):
        return {each.packed for each in of.ip.addresses}
    if isinstance(of, InterfaceSettings):
        return {each.interface.packed for each in of.addresses}
    return set()


def _duplicateAddress(address: bytes) -> ValueError:
    return ValueError(f"{addressText(address)} is the address of another host there: give each host its own")


def _netem(faults: Netem | str | None) -> Netem | None:
    return Netem.of(faults) if isinstance(faults, str) else faults


def _end(of: Any) -> Any:
    """
    Return the protocol at the end of a link, for a part of the network. A switch gets a new port.
    """
    if isinstance(of, Host):
        return of.ethernet
    return of.addPort() if isinstance(of, Switch) else of
