"""
The findings of nmap about a host are the same as those about the kernel with the same services.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from tests.real.lab.beyond import FAR, FAR6, linked
from tests.real.lab.machine import INTERFACE, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, need, run
from tests.real.lab.streams import ECHO, SINK, SOURCE, SSH, TLS, WEB, KernelServices

#: A port that a filter drops, and a port without a listener.
FILTERED, CLOSED = 5, 81

OPEN = (ECHO, SINK, SSH, WEB, TLS)

#: For each kind of scan, the state of an open port with its reason, and the state of a closed port with its reason.
SCANS = {
    "-sS": (("open", "syn-ack"), ("closed", "reset")),
    "-sT": (("open", "syn-ack"), ("closed", "conn-refused")),
    "-sF": (("open|filtered", "no-response"), ("closed", "reset")),
    "-sN": (("open|filtered", "no-response"), ("closed", "reset")),
    "-sX": (("open|filtered", "no-response"), ("closed", "reset")),
    "-sA": (("unfiltered", "reset"), ("unfiltered", "reset")),
}

_FILTER = """
table netdev {0} {{
    chain leaving {{
        type filter hook egress device {0} priority 0;
        tcp dport {1} drop
    }}
}}
"""

#: The interfaces to a host and to the kernel, and the addresses of both by IP version.
TARGETS = {INTERFACE: ("10.9.0.2", "fd09::2"), "ttv0": (FAR, FAR6)}


@pytest.fixture(scope="module", params=["tun", "tap"])
def targets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Start a host, and the kernel in a namespace, both with all services and with a filter before them.
    """
    need()
    ours, theirs = (tmp_path_factory.mktemp(name) for name in ("host", "kernel"))
    with (
        Namespace(),
        linked() as beyond,
        Machine(ours, request.param, streams=ours) as machine,
        KernelServices(theirs, beyond.call),
    ):
        for interface, addresses in TARGETS.items():
            (ours / "filter").write_text(_FILTER.format(interface, FILTERED))
            run("nft", "-f", str(ours / "filter"))
            for address in addresses:
                # Connect once, so that the link addresses are resolved. The kernel repeats its SYN until then.
                socket.create_connection((address, ECHO), PATIENCE).close()
        yield
        assert "Traceback" not in machine.log(), machine.log()


def scan(kind: str, address: str, ports: str, *options: str) -> ElementTree.Element:
    """
    Run nmap for some ports.

    @return: its XML output.
    """
    version = ["-6"] if ":" in address else []
    said = run("nmap", *version, kind, "-n", "-Pn", "--reason", "-oX", "-", "-p", ports, *options, address)
    return ElementTree.fromstring(said)


def states(said: ElementTree.Element) -> dict[int, tuple[str, str]]:
    """
    Return the state of each reported port, and its reason.
    """
    found = {}
    for port in said.iter("port"):
        state = port.find("state")
        assert state is not None
        found[int(port.attrib["portid"])] = state.attrib["state"], state.attrib["reason"]
    return found


@pytest.mark.parametrize("kind", SCANS)
def test_scansFindTheSameAsWithLinux(targets: None, kind: str) -> None:
    isOpen, isClosed = SCANS[kind]
    dropped = (isOpen[0] if "|" in isOpen[0] else "filtered"), "no-response"
    expected = {FILTERED: dropped, **dict.fromkeys(OPEN, isOpen), CLOSED: isClosed}
    for addresses in TARGETS.values():
        for address in addresses:
            assert states(scan(kind, address, ",".join(map(str, expected)))) == expected


def test_allClosedPortsAreReported(targets: None) -> None:
    # A host limits its resets, so nmap has to repeat some of its 300 probes.
    listening = {*OPEN, SOURCE}
    for address, _ in TARGETS.values():
        said = scan("-sS", address, "6-305,443")
        assert states(said) == dict.fromkeys(sorted(listening), ("open", "syn-ack"))
        (others,) = said.iter("extraports")
        assert (others.attrib["state"], int(others.attrib["count"])) == ("closed", 301 - len(listening))


def test_servicesAreRecognised(targets: None) -> None:
    ports = f"{SSH},{WEB},{CLOSED}"
    found, wanted = (services(scan("-sV", address, ports, "--version-light")) for address, _ in TARGETS.values())
    assert found == wanted
    assert found[SSH]["name"] == "ssh" and "Twisted" in found[WEB]["product"]


def test_theHostSurvivesOSDetection(targets: None) -> None:
    # The result does not matter. OS detection sends segments that no TCP sends, and the host continues to serve.
    for interface, (address, _) in TARGETS.items():
        said = scan("-sS", address, f"{ECHO},{CLOSED}", "-O", "--osscan-guess")
        matches = [f"{each.attrib['name']} ({each.attrib['accuracy']} %)" for each in said.iter("osmatch")]
        print(f"{interface}: {', '.join(matches) or 'no guess'}")
        assert states(scan("-sS", address, f"{ECHO}")) == {ECHO: ("open", "syn-ack")}


def services(said: ElementTree.Element) -> dict[int, dict[str, str]]:
    """
    Return the reported services, without the values that differ each time.
    """
    return {
        int(port.attrib["portid"]): {name: value for name, value in service.attrib.items() if name != "servicefp"}
        for port in said.iter("port")
        for service in port.iter("service")
    }
