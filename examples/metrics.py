"""
Measure the traffic of an interface, for Prometheus and for the terminal.

    python examples/metrics.py

Run it as root. The program makes tun0, with 10.0.0.1 at the kernel's end and a host at 10.0.0.2. It serves the metrics
on TCP port 9100 of this machine (pip install prometheus-client). In another terminal:

    $ ping -c5 10.0.0.2
    $ curl http://127.0.0.1:9100/metrics

`twistd tuntap host --prometheus tcp:9100:interface=127.0.0.1` serves the same metrics without any code.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.middleware import Meter
from txtuntap.middleware.meter import drops
from txtuntap.middleware.prometheus import InterfaceCollector
from txtuntap.service import MetricsFactory


def main(reactor: Any) -> Deferred[None]:
    """
    Put a meter around a host, serve its totals to Prometheus, and print its rates every two seconds.
    """
    host = Host(["10.0.0.2/24"], reactor)
    meter = Meter(host.ip, lambda: host.counters)
    TuntapPort("tun0", meter, reactor=reactor).startListening()
    configureInterface("tun0", ["10.0.0.1/24"])

    collector = InterfaceCollector()
    collector.add("tun0", meter.totals, packets="meter")
    registry = CollectorRegistry()
    registry.register(collector)
    reactor.listenTCP(9100, MetricsFactory(registry, reactor), interface="127.0.0.1")
    print("ready: 10.0.0.2 on tun0, http://127.0.0.1:9100/metrics", flush=True)

    def printRates() -> None:
        rates = {part: {name: round(rate, 1) for name, rate in each.items()} for part, each in meter.rates().items()}
        print(f"per second: {rates['meter']}; of these dropped: {drops(rates)}", flush=True)

    return LoopingCall(printRates).start(2)  # type: ignore[return-value]


if __name__ == "__main__":
    react(main)
