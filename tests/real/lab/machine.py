"""
A L{Host<txtuntap.stack.host.Host>} in its own process, which reports its state.

The process answers each line on its standard input with its state as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from tests.real.lab.link import untilHas
from tests.real.lab.namespace import PATIENCE, interfaces
from tests.real.lab.segments.actors import serve
from tests.real.lab.warm import Program
from txtuntap.stack.host import Host
from txtuntap.tuntap import TuntapPort
from txtuntap.wire.address import addressText, linkAddressText, packAddress

INTERFACE = "tt0"
ADDRESSES = ("10.9.0.2/24", "fd09::2/64")
KERNEL_ADDRESSES = ("10.9.0.1/24", "fd09::1/64")

#: More addresses, and the DNS zone, of the machine that several tests share.
ANY_ADDRESSES = ("10.77.0.0/16", "fd77::/48")
ZONE = "example.test"

#: The machine's link address.
STATION = "02:00:00:00:00:02"

ECHO, RELAY, KNOCK, MEMBER = 7, 1007, 1008, 1009


class Machine:
    """
    A context manager that runs a host in its own process. The host has these UDP services:

      - port 7 echoes;
      - port 1007 (relay) sends a datagram to each address that it receives as text;
      - port 1008 (knock) sends a datagram to port 9 of each address that it receives, and records refusals;
      - port 1009 (member) joins each multicast group that it receives, or leaves it if the host is a member;
      - port 53 is the name server of C{zone}, if that is given.

    With C{actors}, the host also has the TCP services of L{tests.real.lab.segments.actors}.

    @ivar mode: C{"tun"} or C{"tap"}.
    """

    def __init__(
        self,
        directory: Path,
        mode: str,
        addresses: tuple[str, ...] = ADDRESSES,
        kernelAddresses: tuple[str, ...] = KERNEL_ADDRESSES,
        anyAddresses: tuple[str, ...] = (),
        gateways: tuple[str, ...] = (),
        zone: str = "",
        interface: str = INTERFACE,
        station: str = STATION,
        actors: bool = False,
        neighbours: Mapping[str, str] | None = None,
        offload: bool | None = None,
        streams: Path | None = None,
        **hostOptions: Any,
    ) -> None:
        """
        @param directory: the directory for the log.
        @param mode: C{"tun"} or C{"tap"}.
        @param addresses: the addresses of the host.
        @param kernelAddresses: the kernel's addresses on the interface.
        @param neighbours: the link address of each static neighbour, by IP address.
        @param streams: the directory for the L{Services<tests.real.lab.streams.Services>} on TCP; L{None}: there are
            none.
        @param hostOptions: more arguments of the host.
        """
        self.mode = mode
        self._interface = interface
        self._kernelAddresses = kernelAddresses
        self._log = directory / f"{interface}.log"
        self._options = {
            "mode": mode,
            "addresses": addresses,
            "kernelAddresses": kernelAddresses,
            "anyAddresses": anyAddresses,
            "gateways": gateways,
            "zone": zone,
            "interface": interface,
            "station": station,
            "actors": actors,
            "neighbours": dict(neighbours or {}),
            "offload": offload,
            "streams": None if streams is None else str(streams),
            "log": str(self._log),
            "hostOptions": hostOptions,
        }

    def __enter__(self) -> Machine:
        self._process = Program(
            f"{__name__}:main",
            ["machine", json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self.state()
            untilHas(self._interface, *self._kernelAddresses)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        with self._process as process:
            # The process ends when its standard input ends.
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert self._interface not in interfaces()

    def state(self) -> dict[str, Any]:
        """
        Ask the process for its state: see L{_state}.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the machine has ended: {self.log()}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def heard(self) -> int:
        """
        The number of datagrams that UDP port 7 has received.
        """
        return int(self.state()["heard"])

    def log(self) -> str:
        """
        The text of its log so far.
        """
        return self._log.read_text() if self._log.exists() else ""


class _Echo(DatagramProtocol):
    """
    The echo service on UDP port 7.

    @ivar heard: the number of datagrams that it has received.
    """

    heard = 0

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.heard += 1
        assert self.transport is not None
        self.transport.write(datagram, addr)


class _Relay(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(b"relayed", (datagram.decode(), RELAY))


class _Knock(DatagramProtocol):
    """
    The knock service, which sends a datagram to port 9 of each address that it receives.

    @ivar refused: the addresses that have answered that the port is closed.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.refused: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        address = datagram.decode()
        refused = self.refused

        class Knocking(DatagramProtocol):
            def connectionRefused(self) -> None:
                refused.append(address)

        transport = self._host.listenUDP(0, Knocking())
        transport.connect(address, 9)
        transport.write(b"knock")


class _Member(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        transport: Any = self.transport
        group = datagram.decode()
        if packAddress(group) in transport.groups:
            transport.leaveGroup(group)
            transport.write(b"left", addr)
        else:
            transport.joinGroup(group)
            transport.write(b"joined", addr)


class _Console(LineReceiver):
    """
    The protocol on standard input, which answers each line with the state.
    """

    delimiter = b"\n"

    def __init__(self, host: Host, echo: _Echo, lost: list[tuple[str, str]], refused: list[str], reactor: Any) -> None:
        self._host = host
        self._echo = echo
        self._lost = lost
        self._refused = refused
        self._reactor = reactor

    def lineReceived(self, line: bytes) -> None:
        own = {"heard": self._echo.heard, "lost": self._lost, "refused": self._refused}
        self.sendLine(json.dumps({**_state(self._host), **own}).encode())

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._reactor.stop()


def _state(host: Host) -> dict[str, Any]:
    """
    Collect the state of a host: its counters, the sizes of its tables, the octets that fragments occupy, and the memory
    and processor time of the process.
    """
    sizes = {table.name: table.size for table in host.tables()}
    return {
        "counters": host.counters,
        "addresses": host.addresses,
        "claimed": [addressText(each) for each, claim in host._guard._claims.items() if claim.announcements == 2],
        "asked": [addressText(each) for each, claim in host._guard._claims.items() if claim.probes],
        "neighbours": sizes["neighbours"],
        "incomplete": sizes["incomplete"],
        "waiting": sizes["waiting octets"],
        "datagrams": len(host.ip._reassembler),
        "fragmentMemory": sizes["fragments"],
        "limits": sizes["error limits"],
        "flows": sizes["flows"],
        "paths": sizes["paths"],
        "connections": sizes.get("connections", 0),
        "tables": sizes,
        "gateways": sorted(map(addressText, host.routes.gateways)),
        "delayedCalls": len(host.getDelayedCalls()),
        "processor": time.process_time(),
        "resident": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    }


def _serveNames(host: Host, zone: str) -> None:
    from twisted.names import dns
    from twisted.names.authority import FileAuthority
    from twisted.names.server import DNSServerFactory

    class Zone(FileAuthority):
        """
        A zone with one name, which has an address of each IP version.
        """

        def loadFile(self, filename: str) -> None:
            soa = dns.Record_SOA(f"ns.{zone}", f"root.{zone}", serial=1, minimum=60)
            records = [dns.Record_A("192.0.2.7"), dns.Record_AAAA("2001:db8::7")]
            self.soa: Any = (zone.encode(), soa)
            self.records: Any = {zone.encode(): [soa], f"www.{zone}".encode(): records}

    factory = DNSServerFactory(authorities=[Zone("")])
    factory.noisy = False
    host.listenUDP(53, dns.DNSDatagramProtocol(factory, reactor=host))


def main() -> None:
    """
    Run the host until standard input ends.
    """
    options = json.loads(sys.argv[1])
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO

    from txtuntap.device.configure import configureInterface

    log = open(options["log"], "w", buffering=1)  # noqa: SIM115
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    lost: list[tuple[str, str]] = []
    host = Host(
        options["addresses"],
        reactor=reactor,
        linkAddress=options["station"],
        anyAddresses=options["anyAddresses"],
        gateways=options["gateways"],
        addressLost=lambda address, station: lost.append((address, linkAddressText(station))),
        **options["hostOptions"],
    )
    echo = _Echo()
    host.listenUDP(ECHO, echo)
    host.listenUDP(RELAY, _Relay())
    host.listenUDP(MEMBER, _Member())
    knock = _Knock(host)
    host.listenUDP(KNOCK, knock)
    if options["zone"]:
        _serveNames(host, options["zone"])
    for address, station in options["neighbours"].items():
        host.neighbours.add(address, station)
    if options["actors"]:
        serve(host)
    if options["streams"]:
        from tests.real.lab.streams import Services

        Services(host, Path(options["streams"]))
    proto = host.ethernet if options["mode"] == "tap" else host.ip
    port = TuntapPort(options["interface"], proto, reactor=reactor, offload=options["offload"])
    port.startListening()
    configureInterface(options["interface"], options["kernelAddresses"])
    StandardIO(_Console(host, echo, lost, knock.refused, reactor))
    reactor.run()
