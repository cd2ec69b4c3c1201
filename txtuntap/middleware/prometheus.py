"""
Counters as Prometheus metrics. The module needs C{prometheus_client}, which the extra C{prometheus} installs::

    collector = InterfaceCollector()
    collector.add("tap0", meter.totals, packets="meter")
    registry.register(collector)
    reactor.listenTCP(9100, txtuntap.service.MetricsFactory(registry, reactor), interface="127.0.0.1")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from txtuntap.middleware.meter import GAUGES, Counters, isDrop
from txtuntap.mistakes import checkCallable

#: The counters that have metrics of their own, each with the metric's name and the value of its C{direction} label.
_TRAFFIC = {
    "inPackets": ("packets", "in"),
    "outPackets": ("packets", "out"),
    "inOctets": ("bytes", "in"),
    "outOctets": ("bytes", "out"),
    "inSuperpackets": ("superpackets", "in"),
    "outSuperpackets": ("superpackets", "out"),
}


#: The counters of each peer, by the peer's name.
PeerCounters = Mapping[str, Mapping[str, float]]


class InterfaceCollector(Collector):
    """
    A collector for a Prometheus registry, which reads the counters of any number of interfaces at each scrape. It is
    called in a thread: a thread of the reactor's pool (L{txtuntap.service.MetricsFactory}), or a thread of another web
    server.

     - C{txtuntap_packets_total}, C{txtuntap_bytes_total} and C{txtuntap_superpackets_total}, by C{interface} and
       C{direction}: the traffic. The direction C{in} is to the protocol on the interface, C{out} is from the protocol.
     - C{txtuntap_drops_total}, by C{interface}, C{part} and C{reason}: dropped packets.
     - C{txtuntap_events_total}, by C{interface}, C{part} and C{event}: all other events that are counted.
     - C{txtuntap_peer_bytes_total}, by C{interface}, C{peer} and C{direction}: the octets of the messages from and to
       each peer of WireGuard, with their headers.
     - C{txtuntap_peer_latest_handshake_seconds}, by C{interface} and C{peer}: the time of its latest handshake, in
       seconds since 1970; 0: there was none.
     - C{txtuntap_current}, by C{interface}, C{part} and C{name}: current numbers, such as the open TCP connections.
    """

    def __init__(self) -> None:
        self._interfaces: list[tuple[Callable[[], str], Callable[[], Counters], str]] = []
        self._peers: list[tuple[Callable[[], str], Callable[[], PeerCounters]]] = []

    def add(self, interface: str | Callable[[], str], counters: Callable[[], Counters], packets: str = "port") -> None:
        """
        Add an interface to the scrapes.

        @param interface: the name of the interface, or, for an interface that may be renamed, a callable that returns
            its name.
        @param counters: a callable that returns the counters by part, such as C{meter.totals}.
        @param packets: the name of the part whose packets and octets are reported as the interface's traffic.
        """
        checkCallable(counters, "counters")
        name = interface if callable(interface) else lambda: interface
        self._interfaces.append((name, counters, packets))

    def addPeers(self, interface: Callable[[], str], peers: Callable[[], PeerCounters]) -> None:
        """
        Add the peers of an interface to the scrapes.

        @param interface: a callable that returns the name of the interface.
        @param peers: a callable that returns the counters of each peer by its name: C{inOctets}, C{outOctets} and
            C{latestHandshake}.
        """
        self._peers.append((interface, peers))

    def collect(self) -> Iterator[Metric]:
        """
        Read all counters now, and yield them as metrics.
        """
        traffic = ["interface", "direction"]
        families = {
            name: CounterMetricFamily(f"txtuntap_{name}", text, labels=labels)
            for name, text, labels in (
                ("packets", "Packets received and sent. A superpacket counts as the packets in it.", traffic),
                ("bytes", "Octets of the packets received and sent.", traffic),
                ("superpackets", "Superpackets received and sent.", traffic),
                ("drops", "Dropped packets.", ["interface", "part", "reason"]),
                ("events", "Other events that are counted.", ["interface", "part", "event"]),
            )
        }
        current = GaugeMetricFamily(
            "txtuntap_current", "Current numbers, such as open connections.", labels=["interface", "part", "name"]
        )
        for interfaceName, read, packets in list(self._interfaces):
            interface = _label(interfaceName())
            for part, counters in read().items():
                # Copy the counters in one step, because the reactor counts on meanwhile. Traffic counters begin at 0
                # here, so that Prometheus sees their first growth.
                zeros = dict.fromkeys(_TRAFFIC, 0) if part == packets else {}
                for name, count in {**zeros, **dict(counters)}.items():
                    if part == packets and name in _TRAFFIC:
                        family, direction = _TRAFFIC[name]
                        families[family].add_metric([interface, direction], count)
                    elif name in GAUGES:
                        current.add_metric([interface, part, name], count)
                    else:
                        kind = "drops" if isDrop(part, name) else "events"
                        families[kind].add_metric([interface, part, name], count)
        yield from families.values()
        yield current
        if self._peers:
            yield from self._collectPeers()

    def _collectPeers(self) -> Iterator[Metric]:
        labels = ["interface", "peer"]
        octets = CounterMetricFamily(
            "txtuntap_peer_bytes", "Octets of the messages from and to a peer.", labels=[*labels, "direction"]
        )
        handshakes = GaugeMetricFamily(
            "txtuntap_peer_latest_handshake_seconds",
            "Time of the latest handshake with a peer, in seconds since 1970.",
            labels=labels,
        )
        for interfaceName, read in list(self._peers):
            interface = _label(interfaceName())
            for peer, counters in read().items():
                octets.add_metric([interface, peer, "in"], counters["inOctets"])
                octets.add_metric([interface, peer, "out"], counters["outOctets"])
                handshakes.add_metric([interface, peer], counters["latestHandshake"])
        yield octets
        yield handshakes


def _label(interface: str) -> str:
    """
    Return the label for an interface. Octets of its name that are no UTF-8 are escaped, since the encoding of the whole
    answer would fail otherwise.
    """
    return os.fsencode(interface).decode("utf-8", "backslashreplace")
