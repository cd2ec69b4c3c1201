"""
Tests that the dashboard for Grafana asks for metrics that there are.
"""

from __future__ import annotations

import json
import re

from prometheus_client import CollectorRegistry, generate_latest

from tests.paths import CHECKOUT
from txtuntap.middleware.meter import GAUGES
from txtuntap.middleware.prometheus import InterfaceCollector

_DASHBOARD = json.loads((CHECKOUT / "examples" / "grafana.json").read_text())


def samples() -> dict[str, set[str]]:
    """
    Collect an interface with each kind of counter.

    @return: the names of the labels of each metric, by its name.
    """
    collector = InterfaceCollector()
    counters = {"port": {"inPackets": 1, "inSuperpackets": 1}, "ip": {"inHdrErrors": 1, "inDelivers": 1}}
    collector.add("tap0", lambda: {**counters, "tcp": dict.fromkeys(GAUGES, 1)})
    collector.addPeers(lambda: "wg0", lambda: {"key": {"inOctets": 1, "outOctets": 1, "latestHandshake": 1}})
    registry = CollectorRegistry()
    registry.register(collector)
    found: dict[str, set[str]] = {}
    for line in generate_latest(registry).decode().splitlines():
        made = re.match(r"(\w+)\{(.*)\} ", line)
        if made is not None:
            found[made[1]] = set(re.findall(r'(\w+)="', made[2]))
    return found


def test_theDashboardAsksForAllMetricsAndNoOthers() -> None:
    asked = set(re.findall(r"txtuntap_\w+", json.dumps(_DASHBOARD["panels"])))
    assert asked == samples().keys()


def test_theDashboardUsesLabelsThatThereAre() -> None:
    known = samples()
    for panel in _DASHBOARD["panels"]:
        for target in panel["targets"]:
            (name,) = re.findall(r"txtuntap_\w+", target["expr"])
            labels = known[name] | {"instance"}
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) | set(
                re.findall(r"(\w+)=~?\"", target["expr"])
            )
            for grouped in re.findall(r"by \(([^)]*)\)", target["expr"]):
                used |= set(grouped.split(", "))
            assert used <= labels, panel["title"]


def test_noTwoPanelsOverlap() -> None:
    taken = set()
    for panel in _DASHBOARD["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken
                taken.add((x, y))
                assert x < 24
