"""
Counters for Prometheus (C{prometheus_client}, the extra C{prometheus}).

    collector = InterfaceCollector()
    collector.add("tap0", meter.totals, packets="meter")
    registry.register(collector)
    reactor.listenTCP(9100, txtuntap.service.MetricsFactory(registry, reactor), interface="127.0.0.1")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from txtuntap.middleware.meter import GAUGES, Counters, isDrop
from txtuntap.mistakes import checkCallable

#: The counters of packets that have metrics of their own; and their labels.
_TRAFFIC = {
    "inPackets": ("packets", "in"),
    "outPackets": ("packets", "out"),
    "inOctets": ("bytes", "in"),
    "outOctets": ("bytes", "out"),
    "inSuperpackets": ("superpackets", "in"),
    "outSuperpackets": ("superpackets", "out"),
}


class InterfaceCollector(Collector):
    """
    The source of a registry's metrics: those of any number of interfaces. They are read when the registry is asked for
    them, in a thread of the reactor's pool (L{txtuntap.service.MetricsFactory}) or of another web server.

     - C{txtuntap_packets_total}, C{txtuntap_bytes_total}, C{txtuntap_superpackets_total}, by C{interface} and
       C{direction}, C{in} or C{out}, as the protocol on the interface sees it;
     - C{txtuntap_drops_total}, by C{interface}, C{part} and C{reason}: packets that went no further;
     - C{txtuntap_events_total}, by C{interface}, C{part} and C{event}: everything else that is counted;
     - C{txtuntap_current}, by C{interface}, C{part} and C{name}: how many there are now, such as TCP connections.
    """

    def __init__(self) -> None:
        self._interfaces: list[tuple[Callable[[], str], Callable[[], Counters], str]] = []

    def add(self, interface: str | Callable[[], str], counters: Callable[[], Counters], packets: str = "port") -> None:
        """
        Have an interface's counters collected.

        @param interface: its name; or, since it may be renamed, what is called for it.
        @param counters: called for the counters, by part: C{meter.totals}, for instance.
        @param packets: the part whose packets and octets are those of the interface.
        """
        checkCallable(counters, "counters")
        name = interface if callable(interface) else lambda: interface
        self._interfaces.append((name, counters, packets))

    def collect(self) -> Iterator[Metric]:
        """
        The values of all counters now.
        """
        traffic = ["interface", "direction"]
        families = {
            name: CounterMetricFamily(f"txtuntap_{name}", text, labels=labels)
            for name, text, labels in (
                ("packets", "Packets that were received and sent.", traffic),
                ("bytes", "Octets of these.", traffic),
                ("superpackets", "Many packets in one, which count above as the many.", traffic),
                ("drops", "Packets that went no further.", ["interface", "part", "reason"]),
                ("events", "What else has happened.", ["interface", "part", "event"]),
            )
        }
        current = GaugeMetricFamily("txtuntap_current", "How many there are.", labels=["interface", "part", "name"])
        for interfaceName, read, packets in list(self._interfaces):
            # A name of other octets than text's would keep everything from being told.
            interface = os.fsencode(interfaceName()).decode("utf-8", "backslashreplace")
            for part, counters in read().items():
                # In one step: the reactor goes on counting. What nothing has come of yet is 0, to grow from.
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
