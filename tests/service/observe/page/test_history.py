"""
Tests for the readings of a live page.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.service.observe.page.browser import Served
from txtuntap import Host, TuntapPort
from txtuntap.device import TAP
from txtuntap.device.memory import MemoryDevice
from txtuntap.middleware import Capture, Netem
from txtuntap.network import Link
from txtuntap.service.observe.page.flows import MAX_FLOWS
from txtuntap.service.observe.page.history import KEPT, LINGER
from txtuntap.service.observe.page.subject import Subject
from txtuntap.switch import Switch
from txtuntap.tunnel.tunnel import Tunnel


class Quiet(DatagramProtocol):
    """
    A protocol that answers nothing.
    """


def test_nothingIsReadBeforeTheFirstLook() -> None:
    served = Served()
    served.run(10)
    assert served.clock.getDelayedCalls() == []
    assert len(served.subject.capture.sinks) == 0  # type: ignore[union-attr]
    assert len(served.subject.impairment.observers) == 0  # type: ignore[union-attr]
    served.recorder.look()
    assert len(served.clock.getDelayedCalls()) == 1
    assert len(served.subject.capture.sinks) == 1  # type: ignore[union-attr]
    assert len(served.subject.impairment.observers) == 1  # type: ignore[union-attr]


def test_readingEndsAMinuteAfterTheLastLook() -> None:
    served = Served()
    served.recorder.look()
    served.run(LINGER - 1)
    assert served.recorder.isRunning
    served.recorder.look()
    served.run(LINGER - 1)
    assert served.recorder.isRunning
    served.run(3)
    assert not served.recorder.isRunning
    assert served.clock.getDelayedCalls() == []
    assert len(served.subject.capture.sinks) == 0
    assert len(served.subject.impairment.observers) == 0
    assert served.recorder.history()["times"] == []


def test_theHistoryHasFiveMinutes() -> None:
    served = Served()
    for _ in range(KEPT + 20):
        served.recorder.look()
        served.run(1)
    history = served.recorder.history()
    assert len(history["times"]) == KEPT
    assert {len(values) for values in history["interfaces"]["tap0"].values()} == {KEPT}


def test_ratesAreASecond() -> None:
    served = Served()
    served.near.listenUDP(7, Quiet())
    proto = Quiet()
    served.far.listenUDP(99, proto)
    proto.transport.write(b"first", ("10.0.0.1", 7))  # type: ignore[union-attr]
    served.run(1)
    served.recorder.look()
    for _ in range(10):
        for _ in range(5):
            proto.transport.write(b"12345678", ("10.0.0.1", 9))  # type: ignore[union-attr]
        served.run(1)
    (shown,) = served.recorder.look()["interfaces"]
    counters = {(each["part"], each["name"]): each for each in shown["counters"]}
    drops = counters["udp", "noPorts"]
    assert drops["value"] == 50
    assert drops["rate"] == pytest.approx(5, rel=0.15)
    assert drops["isDrop"]
    assert [each["isDrop"] for each in shown["counters"]] == sorted(
        (c["isDrop"] for c in shown["counters"]), reverse=True
    )
    flow = next(each for each in shown["flows"] if each["host"]["port"] == 9)
    assert (flow["protocol"], flow["peer"]) == (17, {"host": "10.0.0.2", "port": 99})
    assert flow["inPackets"] == 50
    assert flow["rates"]["inPackets"] == pytest.approx(5, rel=0.15)


def test_theFirstReadingHasNoRatesOfTraffic() -> None:
    """
    There is nothing to compare with, and 0 would be taken for a pause of the traffic.
    """
    served = Served()
    (first,) = served.recorder.look()["interfaces"]
    assert set(first["rates"].values()) == {None}
    served.run(1.5)
    (second,) = served.recorder.look()["interfaces"]
    assert None not in second["rates"].values()


def test_eachLayerHasItsRates() -> None:
    """
    A datagram in fragments is one datagram.
    """
    served = Served()
    served.near.listenUDP(7, Quiet())
    proto = Quiet()
    served.far.listenUDP(99, proto)
    proto.transport.write(b"first", ("10.0.0.1", 7))  # type: ignore[union-attr]
    served.run(0.5)
    begin(served)
    proto.transport.write(bytes(4000), ("10.0.0.1", 7))  # type: ignore[union-attr]
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    rates = stackRates(served)
    assert rates == {
        "capture": (None, None),
        "impairment": (None, None),
        "ip": (4, 1),
        "icmp": (1, 1),
        "udp": (1, 0),
    }
    served.run(1)
    assert set(stackRates(served).values()) == {(None, None), (0, 0)}


def begin(served: Served) -> None:
    """
    Begin the readings once the hosts have announced themselves, and stop in the middle between two readings.
    """
    served.run(10)
    served.recorder.look()
    served.run(1.5)


def stackRates(served: Served) -> dict[str | None, tuple[float | None, float | None]]:
    """
    Read the rates of the picture of the stack, by the layer's part.
    """
    (shown,) = served.recorder.look()["interfaces"]
    return {
        each["part"]: (each["up"] and round(each["up"]), each["down"] and round(each["down"]))
        for each in shown["stack"]
    }


@pytest.mark.parametrize("lost", ["up", "down"])
def test_theLayersHaveTheRatesBetweenThemAndTheFaults(lost: str) -> None:
    served = Served()
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    begin(served)
    assert served.subject.impairment is not None
    setattr(served.subject.impairment, lost, Netem(loss=1))
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    assert stackRates(served)["icmp"] == ((0, 0) if lost == "up" else (1, 1))


def test_theLayersHaveRatesWithoutFaults() -> None:
    served = Served()
    near = Host(["10.0.0.1/24"], served.clock)
    far = Host(["10.0.0.2/24"], served.clock)
    capture = Capture(None, near.ethernet)
    Link(capture, far.ethernet, served.clock).start()
    served.recorder.subjects[:] = [Subject("tap0", proto=capture, host=near)]
    begin(served)
    far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    rates = stackRates(served)
    assert [rates[each] for each in ("capture", "ip", "icmp", "udp")] == [(None, None), (1, 1), (1, 1), (0, 0)]


def test_aTunnelBelowASwitchHasPacketsFromItsPeerGoingUp() -> None:
    tunnel = Tunnel(TAP)
    tunnel.counters["carriers"] = 1
    served = Served()
    served.recorder.subjects[:] = [Subject("tcp:4000", tunnel=tunnel)]
    begin(served)
    tunnel.counters["inPackets"] += 5
    tunnel.counters["outPackets"] += 3
    served.run(1)
    assert stackRates(served) == {None: (None, None), "tunnel": (5, 3)}


def test_aTunnelAboveAPortHasPacketsToItsPeerGoingUp() -> None:
    tunnel = Tunnel(TAP)
    tunnel.counters["carriers"] = 1
    port = TuntapPort("tap0", tunnel, reactor=Clock(), device=MemoryDevice(TAP))
    served = Served()
    served.recorder.subjects[:] = [Subject("tap0", port=port, tunnel=tunnel)]
    begin(served)
    port.counters.inPackets += 4
    tunnel.counters["inPackets"] += 2
    tunnel.counters["outPackets"] += 3
    served.run(1)
    (shown,) = served.recorder.look()["interfaces"]
    rates = {each["title"]: (round(each["up"]), round(each["down"])) for each in shown["stack"][1:]}
    assert rates == {"TuntapPort": (4, 0), "Tunnel": (4, 0), "peer of the tunnel": (3, 2)}


def test_aLayerHasThePacketsThatAPortPassesOn() -> None:
    """
    A switch counts a superpacket as one frame, and a port counts the packets in it.
    """
    switch = Switch(Clock())
    place = switch.addPort("tap0")
    port = TuntapPort("tap0", Capture(None, place), reactor=Clock(), device=MemoryDevice(TAP))
    served = Served()
    port.counters.inPackets += 1
    served.recorder.subjects[:] = [Subject("tap0", port=port, switch=switch, switchPort=place)]
    begin(served)
    port.counters.inPackets += 4
    port.counters.outPackets += 3
    place.counters["inFrames"] += 2
    served.run(1)
    rates = stackRates(served)
    assert rates["switch"] == rates["capture"] == rates["port"] == (4, 3)


def test_connectionsAreShownWithTheirWindows() -> None:
    served = Served()
    served.near.listenTCP(7, Factory.forProtocol(Protocol))
    served.far.connectTCP("10.0.0.1", 7, _Client())
    served.run(1)
    (shown,) = served.recorder.look()["interfaces"]
    (connection,) = shown["connections"]["shown"]
    assert connection["state"] == "ESTABLISHED"
    assert connection["congestionWindow"] > 0
    assert connection["peer"]["host"] == "10.0.0.2"
    assert [port["host"]["port"] for port in shown["connections"]["listening"]] == [7]
    assert shown["connections"]["left"] == 0


class _Client(Factory):
    protocol = Protocol

    def startedConnecting(self, connector: object) -> None:
        """
        Receive the connector of Twisted.
        """

    def clientConnectionLost(self, connector: object, reason: object) -> None:
        """
        Receive the end of the connection.
        """


def test_aReadingIsJSON() -> None:
    served = Served()
    reading = served.recorder.look()
    assert json.loads(json.dumps(reading)) == reading
    assert reading["version"] == 1


def test_tablesAreShownWithTheirBounds() -> None:
    served = Served()
    (shown,) = served.recorder.look()["interfaces"]
    tables = {each["name"]: each for each in shown["tables"]}
    assert tables["neighbours"]["bound"] == 512
    assert tables["flows of a page"]["bound"] == MAX_FLOWS


def test_theFlowsHaveABound() -> None:
    served = Served()
    served.recorder.look()
    proto = Quiet()
    served.far.listenUDP(99, proto)
    proto.transport.write(b"first", ("10.0.0.1", 7))  # type: ignore[union-attr]
    served.run(1)
    for port in range(1, MAX_FLOWS + 100):
        proto.transport.write(b"x", ("10.0.0.1", port))  # type: ignore[union-attr]
        served.clock.advance(0)
    served.clock.advance(0)
    (sink,) = served.subject.capture.sinks  # type: ignore[union-attr]
    assert sink.tables()[-1].size == MAX_FLOWS
    (shown,) = served.recorder.look()["interfaces"]
    assert len(shown["flows"]) <= 50


def test_malformedPacketsAreNoFlows() -> None:
    from txtuntap.service.observe.page.flows import FlowSink
    from txtuntap.wire import pcapng

    for kind in pcapng.ETHERNET, pcapng.RAW:
        sink = FlowSink()
        sink.begin(kind, "tap0", 0)
        whole = bytes.fromhex("020000000001020000000002" + "0800") if kind == pcapng.ETHERNET else b""
        ip = bytes.fromhex("4f00001c000000004011000a0a0000010a000002") + b"\x00\x07"
        for packet in (whole, whole + ip, (whole + ip)[:10], whole + b"\x60" + bytes(39), whole + b"\x60", b""):
            for cut in range(len(packet) + 1):
                assert sink.record(packet[:cut], 0, pcapng.INBOUND)
        assert all(flow[1] == flow[3] == 0 for flow in sink.flows)


def test_aSubjectThatCannotBeReadDoesNotEndTheReadings() -> None:
    served = Served()
    broken = Subject("broken", counters=lambda: {"port": {"inPackets": values.pop()}})
    served.recorder.subjects.append(broken)
    values = [5, 5, 5]
    with capturedLogs() as events:
        served.recorder.look()
        served.run(5.5)
    good, bad = served.recorder.look()["interfaces"]
    assert good["error"] is None
    assert (bad["name"], bad["error"]) == ("broken", "IndexError: pop from empty list")
    assert bad["counters"] == []
    history = served.recorder.history()
    assert len(history["times"]) == 5
    assert history["interfaces"]["broken"]["inPackets"] == [0.0, 0.0, None, None, None]
    assert len(history["interfaces"]["tap0"]["inPackets"]) == 5
    assert len([event for event in events if event.get("log_failure")]) == 1
    values += [5, 5]
    served.run(1)
    again = served.recorder.look()["interfaces"][1]
    assert (again["error"], again["rates"]["inPackets"]) == (None, None)
    served.run(1)
    assert served.recorder.look()["interfaces"][1]["rates"]["inPackets"] == 0


def test_aNameThatCannotBeReadDoesNotEndTheReadings() -> None:
    served = Served()
    served.recorder.subjects.append(Subject([].pop))
    with capturedLogs() as events:
        served.recorder.look()
        served.run(3.5)
    assert [each["name"] for each in served.recorder.look()["interfaces"]] == ["tap0", "?"]
    assert len([event for event in events if event.get("log_failure")]) == 1


def test_interfacesOfOneNameAreToldApart() -> None:
    served = Served()
    served.recorder.subjects += [Subject("tap0"), Subject("tap0 (2)"), Subject("tap0")]
    served.recorder.look()
    served.run(1.5)
    names = ["tap0", "tap0 (2)", "tap0 (2) (2)", "tap0 (3)"]
    assert [each["name"] for each in served.recorder.look()["interfaces"]] == names
    assert list(served.recorder.history()["interfaces"]) == names
    assert served.page.subject("tap0") is served.subject
    assert served.page.subject("tap0 (3)") is served.recorder.subjects[3]


def test_theCapturesOfAnInterfaceStayWithItWhenItIsRenamed() -> None:
    served = Served()
    names = ["tap0"]
    renamed = attrs.evolve(served.subject, name=lambda: names[0])
    served.recorder.subjects[:] = [renamed]
    served.change("/captures", do="start", interface="tap0")
    names[0] = "tap1"
    served.recorder.look()
    served.run(1.5)
    (shown,) = served.recorder.look()["interfaces"]
    assert shown["name"] == "tap1"
    assert [each["number"] for each in shown["captures"]] == [1]
    assert served.change("/captures", do="start", interface="tap1").json() == {"number": 2}


def test_thePeersOfWireGuardHaveRates() -> None:
    peer = SimpleNamespace(
        **{"name": "key", "hasPresharedKey": False, "endpoint": None, "allowed": (), "lastHandshake": 0.0},
        **{"received": 1000, "sent": 500, "keepalive": 0},
    )
    wireguard: Any = SimpleNamespace(peers=[peer], counters={}, tables=list)
    served = Served()
    served.recorder.subjects[:] = [Subject("wg0", wireguard=wireguard)]
    served.recorder.look()
    served.run(0.5)
    peer.received += 300
    served.run(1)
    (shown,) = served.recorder.look()["interfaces"]
    assert shown["error"] is None
    (record,) = shown["peers"]["shown"]
    assert record["rates"] == {"received": pytest.approx(300, rel=0.15), "sent": 0}


def test_theNumberOfAnInterfaceStaysWhenNamesChange() -> None:
    """
    Two interfaces of one name can be in two network namespaces. When one is renamed, the other one has its name.
    """
    names = ["tap0", "tap0"]
    served = Served()
    served.recorder.subjects[:] = [
        Subject(lambda: names[0], host=served.near),
        Subject(lambda: names[1], host=served.far),
    ]
    expected = [(1, "tap0"), (2, "tap0 (2)")]
    for _ in range(2):
        assert [(each["number"], each["name"]) for each in served.recorder.look()["interfaces"]] == expected
        assert served.recorder.history()["numbers"] == {name: number for number, name in expected}
        assert [served.page.subject(number) for number, _ in expected] == served.recorder.subjects
        assert [served.page.subject(name) for _, name in expected] == served.recorder.subjects
        names[0] = "tap1"
        expected = [(1, "tap1"), (2, "tap0")]
        served.run(1.5)


@pytest.mark.parametrize("number", [0, -1, 2, True, 1.0, None, [], 10**100])
def test_aNumberOfNoInterfaceIsRefused(number: Any) -> None:
    assert Served().change("/captures", do="start", interface=number).status == 400
    assert Served().change("/captures", do="start", interface=1).status == 200
