"""
Tunnels to other programs: QEMU, socat, and the kernel's VXLAN.

C{twistd tuntap tunnel} runs in the namespace of the test, with the interface C{tt0}. The other program runs in another
namespace, joined by a C{veth} pair, and has the other end of the tunnel.
"""

from __future__ import annotations

import hashlib
import random
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.beyond import (
    FAR,
    FAR6,
    HERE_ADDRESS,
    NEAR,
    NEAR6,
    THERE_ADDRESS,
    THERE_ADDRESS6,
    Beyond,
    qemu,
    socat,
    vxlan,
)
from tests.real.lab.host import handles
from tests.real.lab.namespace import PATIENCE, ip, run, until
from tests.real.lab.tunnel import End, Place
from txtuntap.wire.vxlan import packHeader

INTERFACE = "tt0"

#: The contents of the file that is sent through a tunnel.
DATA = random.Random(6).randbytes(3_000_000)


class Tunnel(End):
    """
    A running C{twistd tuntap tunnel}.
    """

    def catchesSignal(self) -> bool:
        """
        Return whether the process handles SIGUSR2, by which it logs its counters. The default action would end it.
        """
        assert self.process.poll() is None, f"the tunnel has ended: {self.log()}"
        return handles(self.process.pid, signal.SIGUSR2)

    def untilSaid(self, pattern: str) -> str:
        """
        Wait for a line in the log.
        """

        def said() -> list[str]:
            assert self.process.poll() is None, f"the tunnel has ended: {self.log()}"
            return re.findall(pattern, self.log())

        return until(said, f"{pattern!r} in the log: {self.log()}")[-1]

    def counter(self, name: str) -> int:
        """
        Read one of the tunnel's counters.
        """
        return self.counters().get(name, 0)


@contextmanager
def tunnel(directory: Path, mode: str, *arguments: str) -> Iterator[Tunnel]:
    """
    Run a tunnel in this namespace. Check that it ends cleanly and has logged no traceback.
    """
    place = Place(None, NEAR, HERE_ADDRESS)
    made = Tunnel(place, mode, directory, ("--insecure", "--kernel-address", "fd09::1/64", *arguments))
    try:
        # The handler of SIGUSR2 is installed last, so the service has started then.
        until(made.catchesSignal, f"it to have started: {made.log()}")
        yield made
    finally:
        made.stop()
    assert "Server Shut Down" in made.log(), made.log()


def assertPings(*addresses: str, sizes: Sequence[str] = ("0", "1300", "4000")) -> None:
    """
    Check that each address answers pings, also in fragments.
    """
    for address in addresses:
        pingUntilAnswered(address)
        for size in sizes:
            run("ping", "-c3", "-i0.01", f"-W{PATIENCE:.0f}", "-s", size, address)


def assertCopies(beyond: Beyond, directory: Path, data: bytes = DATA, ways: str = "both") -> None:
    """
    Check that a file arrives unchanged, sent by socat.
    """
    source, copy = directory / "source", directory / "copy"
    source.write_bytes(data)
    for address in [f"TCP4:{THERE_ADDRESS}:9", f"TCP6:[{THERE_ADDRESS6}]:9"]:
        for sends in (False, True) if ways == "both" else (False,):
            copy.unlink(missing_ok=True)
            ends = ["OPEN:" + str(source), f"TCP{address[3]}-LISTEN:9,reuseaddr"], [address, f"CREATE:{copy}"]
            if sends:
                ends = [f"TCP{address[3]}-LISTEN:9,reuseaddr", f"CREATE:{copy}"], [f"OPEN:{source}", address]
            there = beyond.start("socat", "-u", *ends[0])
            beyond.listens(9)
            run("socat", "-u", *ends[1])
            assert there.wait(PATIENCE) == 0
            assert _hash(copy) == _hash(source), (address, sends)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assertMeasures(beyond: Beyond, ways: Sequence[tuple[str, ...]] = ((), ("-R",))) -> None:
    """
    Check that iperf3 can transfer data by TCP and UDP, in both directions.
    """
    for arguments in [(*kind, *way) for kind in ((), ("-u", "-b20M")) for way in ways]:
        # Use a new server for each test, because a server closes its socket for a moment between two tests.
        server = beyond.start("iperf3", "-s", "-1")
        beyond.listens(5201)
        run("iperf3", "-c", THERE_ADDRESS, "--connect-timeout", f"{1000 * PATIENCE:.0f}", "-n", "500K", *arguments)
        assert server.wait(PATIENCE) == 0


def assertCarries(beyond: Beyond, directory: Path) -> None:
    """
    Run all of the checks above.
    """
    assertPings(THERE_ADDRESS, THERE_ADDRESS6)
    assertCopies(beyond, directory)
    assertMeasures(beyond)


def test_aTunnelConnectsToQEMU(beyond: Beyond, tmp_path: Path) -> None:
    guest = qemu(beyond, f"socket,listen={FAR}:5000")
    with tunnel(tmp_path, "tap", "--connect", f"tcp:{FAR}:5000", "--framing", "qemu"):
        assertCarries(beyond, tmp_path)
        # When QEMU ends and starts again, the tunnel connects again.
        guest.kill()
        guest.wait()
        qemu(beyond, f"socket,listen={FAR}:5000")
        ip("neighbour", "flush", "dev", INTERFACE)
        assertPings(THERE_ADDRESS)


def test_qemuConnectsToATunnel(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", f"tcp:5000:interface={NEAR}", "--framing", "qemu"):
        listens(5000)
        qemu(beyond, f"stream,server=off,addr.type=inet,addr.host={NEAR},addr.port=5000")
        assertCarries(beyond, tmp_path)


def test_qemuSendsDatagrams(beyond: Beyond, tmp_path: Path) -> None:
    qemu(beyond, f"socket,udp={NEAR}:5001,localaddr={FAR}:5002")
    peer = f"udp:{FAR}:5002:bindAddress={NEAR}:bindPort=5001"
    with tunnel(tmp_path, "tap", "--connect", peer, "--framing", "qemu"):
        assertCarries(beyond, tmp_path)


def test_socatOverTCPCarriesPings(beyond: Beyond, tmp_path: Path) -> None:
    for pi in False, True:
        there = socat(beyond, "tun", "" if pi else ",iff-no-pi", "TCP-LISTEN:5000,reuseaddr")
        beyond.listens(5000)
        arguments = ["--connect", f"tcp:{FAR}:5000", "--framing", "socat:pi=yes" if pi else "socat"]
        with tunnel(tmp_path, "tun", *arguments):
            # socat treats packets that arrive together, such as fragments, as one packet. So send no fragments.
            assertPings(THERE_ADDRESS, THERE_ADDRESS6, sizes=("0", "1300"))
            assertCopies(beyond, tmp_path, DATA[:300_000], "from there")
            assertMeasures(beyond, [("-R",)])
        there.wait(PATIENCE)


def test_socatsTunOverUDPCarriesData(beyond: Beyond, tmp_path: Path) -> None:
    socat(beyond, "tun", ",iff-no-pi", f"UDP4-DATAGRAM:{NEAR}:5001,bind={FAR}:5002")
    with tunnel(tmp_path, "tun", "--connect", f"udp:{FAR}:5002:bindPort=5001", "--framing", "socat"):
        assertCarries(beyond, tmp_path)


def test_socatsTapOverUDPCarriesData(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "udp:5001", "--framing", "bare:pi=yes"):
        # The tunnel learns its peer from the first packet of socat.
        socat(beyond, "tap", "", f"UDP4-DATAGRAM:{NEAR}:5001,bind={FAR}:5002")
        assertCarries(beyond, tmp_path)


def test_aVXLANOfTheKernelCarriesData(beyond: Beyond, tmp_path: Path) -> None:
    vxlan(beyond)
    peer = ["--connect", f"udp:{FAR}:4789", "--framing", "vxlan:vni=42", "--mtu", "1430"]
    with tunnel(tmp_path, "tap", *peer) as made:
        assertCarries(beyond, tmp_path)
        # VXLAN has no superpackets, so the kernel must not send any.
        assert "tcp-segmentation-offload: off" in run("ethtool", "-k", INTERFACE)
        # ARP and neighbour discovery have passed the tunnel.
        assert "lladdr" in ip("neighbour", "show", THERE_ADDRESS)
        assert "lladdr" in ip("neighbour", "show", THERE_ADDRESS6)
        with beyond.socket(FAR, 0) as other:
            for datagram in packHeader(43) + bytes(60), bytes(68), b"", packHeader(42) + bytes(13):
                other.sendto(datagram, (NEAR, 4789))
        until(lambda: made.counter("inErrors") == 1, "the invalid packet to be counted")
        assert (made.counter("inOtherNetworks"), made.counter("inFramingErrors")) == (1, 2)


@pytest.mark.parametrize("checksums", ["udp6zerocsumtx", "noudp6zerocsumtx"])
def test_aVXLANOverIPv6CarriesData(beyond: Beyond, tmp_path: Path, checksums: str) -> None:
    vxlan(beyond, NEAR6, FAR6, checksums)
    # This end learns the address of its peer. The port of the peer is the port that this end listens on.
    listen = ["--listen", "udp:4789:interface=[::]", "--framing", "vxlan:vni=42", "--mtu", "1430"]
    with tunnel(tmp_path, "tap", *listen) as made:
        beyond.call(lambda: pingUntilAnswered(HERE_ADDRESS))
        assert FAR6 in made.untilSaid("peer is .*")
        assertCarries(beyond, tmp_path)


def test_garbageInDatagramsIsCounted(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "udp:5001", "--framing", "bare") as made, beyond.socket(FAR, 0) as peer:
        for datagram in b"", b"x", bytes(13), bytes(14 + 1501):
            peer.sendto(datagram, (NEAR, 5001))
        until(lambda: made.counter("inTooLong") == 1, "the long packet to be counted")
        assert (made.counter("inErrors"), made.counter("carriers")) == (3, 0)


#: By framing: the mode, and data that is invalid in the framing.
GARBAGE = {
    "qemu": ("tap", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", random.Random(1).randbytes(200_000)]),
    "socat": ("tun", [b"\x45\0\0\x13" + bytes(16), b"GET / HTTP/1.1\r\nHost: there\r\n\r\n", bytes(100)]),
}


@pytest.mark.parametrize("framing", GARBAGE)
def test_garbageInAStreamEndsTheConnection(beyond: Beyond, tmp_path: Path, framing: str) -> None:
    mode, garbage = GARBAGE[framing]
    with tunnel(tmp_path, mode, "--listen", "tcp:5000", "--framing", framing) as made:
        listens(5000)
        for data in garbage:
            with socket.create_connection((NEAR, 5000)) as peer:
                peer.settimeout(PATIENCE)
                with suppress(ConnectionError):
                    peer.sendall(data)
                    while peer.recv(65536):
                        pass
        assert made.counter("inFramingErrors") == len(garbage)


def listens(port: int) -> None:
    """
    Wait until a process listens on a TCP port in this namespace.
    """
    until(lambda: run("ss", "-Hltn", f"sport = :{port}"), f"port {port} to be listened at")


def test_anIncompleteFrameKeepsOutNoOtherConnection(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "tcp:5000", "--framing", "qemu") as made, ExitStack() as stack:
        listens(5000)
        for data in b"\0\0", b"\0\0\x05\xdc" + bytes(700), b"":
            peer = stack.enter_context(socket.create_connection((NEAR, 5000)))
            peer.sendall(data)
        # Each new connection replaces the one before.
        until(lambda: made.counter("carriers") == 3, "the last connection")
        peer.sendall(b"\0\0\0\x3c" + b"\xff" * 6 + bytes(54))
        until(lambda: made.counter("inPackets") == 1, "a frame")
