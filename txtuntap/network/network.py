"""
A network from a few lines: hosts, switches, and links with what goes wrong on them.

    with Network(seed=1) as net:
        switch = net.switch()
        near = net.host("10.0.0.1/24", switch)
        far = net.host("10.0.0.2/24", switch, "delay 20ms loss 10%")
        pong = net.result(near.ping("10.0.0.2"))

It is all in memory, and time passes when it is told to: an idle hour takes no time at all, and the same seed gives the
same again, packet for packet. On the reactor in place of a L{SimulationClock}, interfaces of the kernel can be part of
it (L{Network.tap}).
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

#: The VLAN of a port of a switch for which none is said.
_UNTAGGED = 1


class Network:
    """
    Hosts, switches, and links between them, started and stopped together. What is added to one that is started is
    started at once.

    @ivar clock: what tells the time of all of it.
    @ivar switches: those that were made here.
    @ivar hosts: likewise.
    @ivar links: likewise.
    @ivar taps: the ports of interfaces of the kernel.
    """

    def __init__(self, seed: int = 0, clock: IReactorTime | None = None) -> None:
        """
        @param seed: what all chance in it comes from. Do not have it guess anything for peers outside.
        @param clock: the reactor, for a network that runs by itself; by default, a L{SimulationClock}.
        """
        if clock is not None:
            checkClock(clock)
        self.clock: Any = SimulationClock() if clock is None else clock
        # Draws of hosts change nothing in the fate of packets on a link.
        self._chance = Random(f"hosts {seed}")
        self._fates = Random(f"links {seed}")
        self.switches: list[Switch] = []
        self.hosts: list[Host] = []
        self.links: list[Link] = []
        self.taps: list[TuntapPort] = []
        self._settings: dict[TuntapPort, InterfaceSettings | None] = {}
        # By whom they are asked for: all of these live as long as the network.
        self._impairments: dict[int, Impairment] = {}
        # The switches that each switch is linked to, and the addresses there.
        self._segments: dict[int, _Segment] = {}
        self._isStarted = False

    # Its parts

    def switch(self, **options: Any) -> Switch:
        """
        Make a L{Switch}.

        @param options: as of L{Switch}.
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
        Make a L{Host}.

        @param addresses: its own, in CIDR notation: one, or a list.
        @param at: what it is linked to, if that is known yet, with what goes wrong there: see L{link}.
        @param options: others of L{Host}, such as C{gateways}.
        """
        given = [addresses] if isinstance(addresses, str) else listed(addresses, "addresses", "10.0.0.2/24")
        host = Host(given, self.clock, **{"random": self._chance, "secrets": self._chance, **options})
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
        Link two of them.

        @param one: a L{Host}; a L{Switch}, which has one more port then; a port that was added to one
            (C{switch.addPort(vlan=10)}); or any C{IEthernetProtocol}, or C{IRawPacketProtocol}, such as a host's C{ip}.
            So is C{other}.
        @param netem: what goes wrong on the link, in both directions: a L{Netem}, or the text for one, such as
            C{"delay 20ms loss 10%"}. L{impairment} changes it later.
        @param up: or in the direction of C{one} alone.
        @param down: or in the direction of C{other}.
        @param mtu: the most octets that IP may put into one packet.

        @raise TypeError: they cannot be linked.
        @raise ValueError: what goes wrong is said wrong; or two switches are linked that are linked already, through
            others perhaps: what goes round and round between them would never end. (Ports of VLANs that they have not
            in common may be: add them, and link those.) Or two hosts of one link, or of one VLAN of switches that are
            linked, have one address.
        """
        impair = self._impair(netem, up, down)
        checkMTU(mtu)
        if isinstance(one, Switch) and isinstance(other, Switch):
            self._join(one, other)
        self._checkAddresses(one, other)
        end = impair(_end(one))
        link = Link(end, _end(other), self.clock, mtu)
        self._noteAddresses(one, other)
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
        Have a tap interface of the kernel be part of the network, which is then on the reactor.

        @param name: what it is called.
        @param at: what it is linked to, as in L{link}; what goes wrong is said as there.
        @param up: or to what comes from the interface alone.
        @param down: or to what goes to it.
        @param namespace: the network namespace that it is in: a name that C{ip netns} gave it, a path, or a descriptor.
            L{None}: this one.
        @param settings: what the interface is to be, such as C{InterfaceSettings(addresses=["10.0.0.3/24"])}.

        @raise RuntimeError: time passes only when it is told to.
        """
        if isinstance(self.clock, SimulationClock):
            raise RuntimeError("an interface of the kernel does not wait: make it a Network(clock=reactor)")
        from txtuntap.device import TAP
        from txtuntap.device.linux.device import LinuxDevice

        if settings is not None:
            checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.3/24'])")
            self._checkAddresses(settings, at)
            if isinstance(at, Host):
                lost = unreached(settings.addresses, settings.routes, at.ip.addresses)
                if lost is not None:
                    raise ValueError(f"settings: {lost}")
        device = LinuxDevice(name, TAP, namespace=namespace)
        end = self._impair(netem, up, down)(_end(at))
        tap = TuntapPort(name, end, reactor=self.clock, device=device)
        self.taps.append(tap)
        self._noteAddresses(settings, at)
        if isinstance(end, Impairment):
            self._impairments[id(tap)] = end
        self._settings[tap] = settings
        if self._isStarted:
            self._startTap(tap)
        return tap

    def impairment(self, of: Any) -> Impairment:
        """
        The impairment of a link: its C{up} and C{down} can be assigned another L{Netem} at any time, and its
        C{counters} tell what went wrong.

        @param of: what L{link} or L{tap} returned; or a host, or whatever was given first to L{link}, whose latest such
            link it is then.

        @raise KeyError: on that link, nothing does.
        """
        try:
            return self._impairments[id(of)]
        except KeyError:
            raise KeyError(f"nothing goes wrong on a link of {of!r}: give it a netem when it is made") from None

    # Life

    def start(self) -> None:
        """
        Start all of it.

        @raise RuntimeError: it is started.
        @raise CannotListenError: an interface cannot be opened.
        @raise OSError: an interface cannot be what it is to be.
        """
        if self._isStarted:
            raise RuntimeError("this network is started")
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
        Stop all of it. Stopping twice is harmless.

        @return: fires when interfaces are closed; at once, where there are none.
        """
        self._isStarted = False
        for link in self.links:
            link.stop()
        return gatherResults([tap.stopListening() for tap in self.taps]).addCallback(lambda _: None)

    def __enter__(self) -> Network:
        """
        Start.
        """
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        Stop.
        """
        self.stop()

    # Time

    def run(self, seconds: float) -> None:
        """
        Let time pass.

        @raise RuntimeError: it does so by itself.
        """
        self._simulation().advance(seconds)

    def result(self, waited: Deferred[_T] | Coroutine[Deferred[Any], Any, _T], limit: float = 3600.0) -> _T:
        """
        Let time pass until something has a result, and no longer.

        @param waited: a Deferred, or a coroutine that awaits such.
        @param limit: how many seconds it may take.

        @return: the result; or what it failed with is raised.

        @raise TimeoutError: (Python's own) it has none in time, or nothing is left that will ever happen.
        @raise RuntimeError: time passes by itself.
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
                raise TimeoutError("no result, and nothing is left that will ever happen")
            if clock.seconds() + wait > deadline:
                raise TimeoutError(f"no result within {limit:g} seconds")
            clock.advance(wait)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: _T = results[0]
        return result

    def _simulation(self) -> SimulationClock:
        if not isinstance(self.clock, SimulationClock):
            raise RuntimeError("on the reactor, time passes by itself: await what is waited for")
        return self.clock

    def _startTap(self, tap: TuntapPort) -> None:
        tap.startListening()
        settings = self._settings[tap]
        if settings is not None:
            from txtuntap.device.configure import configureNow

            device: Any = tap.device
            configureNow(device.name, settings, device)

    def _join(self, one: Switch, other: Switch) -> None:
        """
        Take note that two switches are linked.
        """
        joined, others = (self._segment(each) for each in (one, other))
        if joined is others:
            raise ValueError("these switches are linked already, and there is no spanning tree: a loop is a storm")
        # Frames between two switches that are linked so have no tag.
        for address in joined.addresses.keys() & others.addresses.keys():
            if address[0] == _UNTAGGED:
                raise _twice(address[1])
        joined.switches |= others.switches
        joined.addresses.update(others.addresses)
        for each in others.switches:
            self._segments[each] = joined

    def _segment(self, at: Switch | SwitchPort) -> _Segment:
        # The ports of a switch share its table.
        switch = id(at.table)
        return self._segments.setdefault(switch, _Segment({switch}, {}))

    def _checkAddresses(self, one: Any, other: Any) -> None:
        """
        @raise ValueError: what is linked has an address that another host there has.
        """
        for address in _addresses(one) & _addresses(other):
            raise _twice(address)
        for end, at in (one, other), (other, one):
            place = self._place(at)
            if place is not None:
                segment, vlan = place
                for address in _addresses(end):
                    if segment.addresses.get((vlan, address), end) is not end:
                        raise _twice(address)

    def _noteAddresses(self, one: Any, other: Any) -> None:
        for end, at in (one, other), (other, one):
            place = self._place(at)
            if place is not None:
                segment, vlan = place
                segment.addresses.update({(vlan, address): end for address in _addresses(end)})

    def _place(self, at: Any) -> tuple[_Segment, int] | None:
        """
        Where frames without a tag go at a switch, or at a port of one.
        """
        if isinstance(at, Switch):
            return self._segment(at), _UNTAGGED
        if isinstance(at, SwitchPort) and at.untagged is not None:
            return self._segment(at), at.untagged
        return None

    def _impair(
        self, both: Netem | str | None, up: Netem | str | None, down: Netem | str | None
    ) -> Callable[[Any], Any]:
        """
        @return: what makes an end of a link one on which that goes wrong.

        @raise ValueError: it is said wrong.
        """
        netems = _netem(both), _netem(up), _netem(down)
        if netems == (None, None, None):
            return lambda end: end
        return lambda end: Impairment(end, *netems, self._fates)


@attrs.define(eq=False)
class _Segment:
    """
    Switches that are linked, and the addresses of what is linked to them, each with the number of a VLAN.
    """

    switches: set[int]
    addresses: dict[tuple[int, bytes], Any]


def _addresses(of: Any) -> set[bytes]:
    """
    The packed addresses of a host, or of the kernel's end of an interface.
    """
    if isinstance(of, Host):
        return {each.packed for each in of.ip.addresses}
    if isinstance(of, InterfaceSettings):
        return {each.interface.packed for each in of.addresses}
    return set()


def _twice(address: bytes) -> ValueError:
    return ValueError(f"{addressText(address)} is the address of another host there: give each host its own")


def _netem(said: Netem | str | None) -> Netem | None:
    return Netem.of(said) if isinstance(said, str) else said


def _end(of: Any) -> Any:
    """
    Find the protocol that goes at the end of a link.
    """
    if isinstance(of, Host):
        return of.ethernet
    return of.addPort() if isinstance(of, Switch) else of
