"""
Tests for what a live page shows of each kind of interface.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from docs.meanings import FILE, meanings, tables, text
from tests.service.observe.page.browser import Served
from txtuntap import Host, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.memory import MemoryDevice
from txtuntap.middleware import Capture, Meter
from txtuntap.service.linkcapture import LinkCapture
from txtuntap.service.observe.page.subject import Subject
from txtuntap.switch import Switch
from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.datagram import DatagramCarrier
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wireguard import WireGuard


def titles(subject: Subject) -> list[tuple[str, int]]:
    """
    List the layers of the picture, with their levels.
    """
    return [(layer["title"], layer["level"]) for layer in subject.stack()]


def test_theStackOfAHostOnATapIsShown() -> None:
    host = Host(["10.0.0.1/24"], Clock())
    port = TuntapPort("tap0", Capture(None, Meter(host.ethernet)), reactor=Clock(), device=MemoryDevice(TAP))
    assert titles(Subject("tap0", port=port, host=host)) == [
        ("device tap0", 0),
        ("TuntapPort", 1),
        ("Capture", 2),
        ("Meter", 3),
        ("EthernetProtocol", 4),
        ("IPProtocol", 5),
        ("ICMP", 6),
        ("UDP", 6),
    ]


def test_theStackOfATunnelIsShown() -> None:
    tunnel = Tunnel(TUN)
    port = TuntapPort("tun0", tunnel, reactor=Clock(), device=MemoryDevice(TUN))
    subject = Subject("tun0", port=port, tunnel=tunnel)
    assert titles(subject) == [("device tun0", 0), ("TuntapPort", 1), ("Tunnel", 2), ("peer of the tunnel", 3)]
    assert set(subject.currentCounters()) == {"port", "tunnel"}


def test_thePortOfASwitchIsShown() -> None:
    switch = Switch(Clock())
    place = switch.addPort("tap0")
    port = TuntapPort("tap0", place, reactor=Clock(), device=MemoryDevice(TAP))
    subject = Subject("tap0", port=port, switch=switch, switchPort=place)
    expected = ["device tap0", "TuntapPort", "Switch, port tap0", "other ports of the switch"]
    assert titles(subject) == [(title, level) for level, title in enumerate(expected)]


def test_WireGuardBelowAHostIsBelowItsCapture() -> None:
    host = Host(["10.0.0.1/24"], Clock())
    wireguard = WireGuard(None, reactor=Clock(), outside=Host(["10.0.0.2/24"], Clock()))
    subject = Subject("wg0", proto=LinkCapture("wg0", host.ip), host=host, wireguard=wireguard)
    expected = ["peers of WireGuard", "WireGuard", "Capture", "IPProtocol", "ICMP"]
    assert titles(subject) == [*((title, level) for level, title in enumerate(expected)), ("UDP", 4)]
    assert [layer["part"] for layer in subject.stack()][:4] == [None, "wireguard", "capture", "ip"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (IPv4Address("TCP", "192.0.2.1", 4000), {"host": "192.0.2.1", "port": 4000}),
        (UNIXAddress(None), None),
    ],
)
def test_thePeerOfATunnelOverAStreamIsShown(address: Any, shown: Any) -> None:
    served = Served()
    tunnel = Tunnel(TUN)
    carrier = StreamFactory(tunnel, Frames, Clock()).buildProtocol(None)
    assert carrier is not None
    carrier.makeConnection(StringTransport(peerAddress=address))
    served.recorder.subjects[:] = [Subject("tun0", tunnel=tunnel)]
    assert tunnelOf(served) == {"isUp": False, "peer": None}
    tunnel.carrier = carrier
    assert tunnelOf(served) == {"isUp": True, "peer": shown}


def test_thePeerOfATunnelOverUDPIsShown() -> None:
    served = Served()
    tunnel = Tunnel(TUN)
    tunnel.carrier = DatagramCarrier(tunnel, Bare(TUN), ("192.0.2.1", 4000), Clock())
    served.recorder.subjects[:] = [Subject("tun0", tunnel=tunnel)]
    assert tunnelOf(served) == {"isUp": True, "peer": {"host": "192.0.2.1", "port": 4000}}


def tunnelOf(served: Served) -> dict[str, Any]:
    """
    Read the tunnel, without its rates.
    """
    served.recorder.stop()
    (shown,) = served.recorder.look()["interfaces"]
    found: dict[str, Any] = shown["tunnel"]
    del found["rates"]
    return found


@pytest.mark.unix("names of octets")
def test_aNameThatIsNoUTF8IsEscaped() -> None:
    assert Subject("tap\udcff").currentName() == "tap\\xff"


def test_theNameIsThePresentOne() -> None:
    names = iter(["tap0", "tap1"])
    subject = Subject(lambda: next(names))
    assert [subject.currentName(), subject.currentName()] == ["tap0", "tap1"]


def test_theMeaningsAreThoseOfTheTable() -> None:
    assert FILE.read_text() == text(), "run python -m docs.meanings"


def test_eachShownTableHasAMeaning() -> None:
    served = Served()
    (shown,) = served.recorder.look()["interfaces"]
    names = {each["name"] for each in shown["tables"]}
    assert len(names) > 10
    assert names - set(tables()) == set()


def test_eachShownCounterHasAMeaning() -> None:
    served = Served()
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    (shown,) = served.recorder.look()["interfaces"]
    known = meanings()
    shownNames = [(each["part"], each["name"]) for each in shown["counters"]]
    assert len(shownNames) > 3
    for part, name in shownNames:
        assert any(name in known.get(each, {}) for each in (part, "middleware", "each")), (part, name)


@pytest.mark.parametrize("field", ["captures", "impairment"])
def test_anInterfaceWithoutMiddlewareHasNothingToChange(field: str) -> None:
    served = Served()
    served.recorder.subjects[:] = [Subject("tap1", host=served.near)]
    (shown,) = served.recorder.look()["interfaces"]
    assert shown[field] is None
    asked = {"interface": "tap1", "do": "start", "up": "", "down": ""}
    answer = served.change("/captures" if field == "captures" else "/impairment", **asked)
    assert (answer.status, b"put a" in answer.body) == (400, True)


def test_theTablesOfATunnelsCarriersAreShown() -> None:
    factory = StreamFactory(Tunnel(TUN), Frames, Clock())
    assert "strangers" in [each.name for each in Subject("tun0", others=factory).tables()]
