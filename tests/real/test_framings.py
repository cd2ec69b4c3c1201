"""
Tunnels to programs of others: QEMU, socat, the kernel's VXLAN.

C{twistd tuntap tunnel} is here, with the interface C{tt0}. The other program is in another namespace, beyond a pair of
C{veth}, and has the other end of the tunnel.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.real.host import twistd
from tests.real.link import setUp
from tests.real.namespace import PATIENCE, Namespace, another, interfaces, ip, run, tool, until
from txtuntap.device.configure import moveInterface
from txtuntap.device.namespace import inNamespace
from txtuntap.wire.vxlan import packHeader

NEAR, FAR = "192.0.2.1", "192.0.2.2"
INTERFACE = "tt0"
#: Of the tunnel's ends.
HERE, THERE = ("10.9.0.1/24", "fd09::1/64"), ("10.9.0.2/24", "fd09::2/64")
HERE_ADDRESS, THERE_ADDRESS, THERE_ADDRESS6 = "10.9.0.1", "10.9.0.2", "fd09::2"

#: A file's worth.
DATA = random.Random(6).randbytes(3_000_000)


class Beyond:
    """
    The other namespace, and what runs there.
    """

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, name: str, *arguments: str) -> str:
        """
        Run a program to its end there.
        """
        return inNamespace(self._namespace, lambda: run(name, *arguments))

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """
        Start a program there, which runs until the test's end.
        """

        def started() -> subprocess.Popen[str]:
            return subprocess.Popen(
                [tool(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        process = inNamespace(self._namespace, started)
        self._processes.append(process)
        return process

    def setUp(self, name: str) -> None:
        """
        Wait for an interface, and give it the addresses of that end.
        """
        until(lambda: name in inNamespace(self._namespace, interfaces), f"the interface {name}")
        inNamespace(self._namespace, lambda: setUp(name, *THERE))

    def socket(self, *address: str | int) -> socket.socket:
        """
        A UDP socket there, bound to an address.
        """

        def made() -> socket.socket:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind(address)
            return bound

        return inNamespace(self._namespace, made)

    def listens(self, port: int, kind: str = "-t") -> None:
        """
        Wait until somebody listens at a port there.
        """
        until(lambda: self.run("ss", "-Hln", kind, f"sport = :{port}"), f"port {port} to be listened at")

    def stop(self) -> None:
        """
        Stop what was started.
        """
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def beyond(namespace: Namespace) -> Iterator[Beyond]:
    """
    Another namespace, with C{FAR} in it; this one has C{NEAR}.
    """
    with another() as there:
        ip("link", "add", "ttv0", "type", "veth", "peer", "name", "ttv1")
        moveInterface("ttv1", there)
        setUp("ttv0", f"{NEAR}/24")
        inNamespace(there, lambda: setUp("ttv1", f"{FAR}/24"))
        made = Beyond(there)
        try:
            yield made
        finally:
            made.stop()
            inNamespace(there, lambda: ip("link", "delete", "ttv1"))


class Tunnel:
    """
    C{twistd tuntap tunnel}, running.
    """

    def __init__(self, directory: Path, process: subprocess.Popen[str]) -> None:
        self._directory = directory
        self.process = process

    def log(self) -> str:
        """
        All it has said.
        """
        return (self._directory / "twistd.log").read_text()

    def untilSaid(self, pattern: str) -> str:
        """
        Wait for a line.
        """

        def said() -> list[str]:
            assert self.process.poll() is None, f"it did not stay: {self.log()}"
            return re.findall(pattern, self.log())

        return until(said, f"{pattern!r} in the log: {self.log()}")[-1]

    def counter(self, name: str) -> int:
        """
        One of the tunnel's counters, now.
        """
        before = len(re.findall("tunnel: ", self.log()))
        self.process.send_signal(12)
        lines = until(
            lambda: (found := re.findall(r"tunnel: (.*)", self.log()))[before:] and found, "the counters in the log"
        )
        return dict((key, int(value)) for key, value in re.findall(r"(\w+) (\d+)", lines[-1])).get(name, 0)


@contextmanager
def tunnel(directory: Path, mode: str, *arguments: str) -> Iterator[Tunnel]:
    """
    A tunnel from here. It ends cleanly, and has logged no traceback.
    """
    options = [f"--{mode}", INTERFACE, "--insecure", *arguments]
    for address in HERE:
        options += ["--kernel-address", address]
    process = twistd("-n", "--pidfile=", "tuntap", "tunnel", *options, cwd=directory)
    made = Tunnel(directory, process)
    try:
        made.untilSaid("starting on|Starting factory")
        until(lambda: INTERFACE in interfaces() and HERE_ADDRESS in ip("address", "show", INTERFACE), made.log())
        yield made
    finally:
        process.terminate()
        try:
            assert process.wait(PATIENCE) == 0, made.log()
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in made.log(), made.log()


def assertPings(*addresses: str, sizes: Sequence[str] = ("0", "1300", "4000")) -> None:
    """
    Each address answers, to fragments, too.
    """
    for address in addresses:
        until(lambda address=address: not _status("ping", "-c1", "-W1", address), f"{address} to answer")  # type: ignore[misc]
        for size in sizes:
            run("ping", "-c3", "-i0.01", "-W5", "-s", size, address)


def _status(name: str, *arguments: str) -> int:
    return subprocess.run([tool(name), *arguments], capture_output=True, check=False).returncode


def assertCopies(beyond: Beyond, directory: Path, data: bytes = DATA, ways: str = "both") -> None:
    """
    A file comes over, by socat, as it is.
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


def assertMeasures(beyond: Beyond) -> None:
    """
    iperf3 comes through, by TCP and UDP, both ways.
    """
    for arguments in (), ("-R",), ("-u", "-b20M"), ("-u", "-b20M", "-R"):
        # One for each: a server's socket goes, and comes again, between two.
        server = beyond.start("iperf3", "-s", "-1")
        beyond.listens(5201)
        run("iperf3", "-c", THERE_ADDRESS, "--connect-timeout", "5000", "-n", "500K", *arguments)
        assert server.wait(PATIENCE) == 0


def assertCarries(beyond: Beyond, directory: Path) -> None:
    """
    All of that.
    """
    assertPings(THERE_ADDRESS, THERE_ADDRESS6)
    assertCopies(beyond, directory)
    assertMeasures(beyond)


def qemu(beyond: Beyond, netdev: str) -> None:
    """
    QEMU without a guest, which has a hub with a tap on it, and what is to be tried.
    """
    found = [each for each in QEMU if _has(each)]
    options = ["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none"]
    options += ["-netdev", f"{netdev},id=s", "-netdev", "hubport,id=h0,hubid=0,netdev=s"]
    options += ["-netdev", "tap,id=t,ifname=ttq0,script=no,downscript=no", "-netdev", "hubport,id=h1,hubid=0,netdev=t"]
    beyond.start(found[0] if found else QEMU[0], *options)
    beyond.setUp("ttq0")


#: Any will do: it has no guest.
QEMU = ["qemu-system-sparc", "qemu-system-x86_64", "qemu-system-aarch64", "qemu-system-ppc", "qemu-system-mips"]


def _has(name: str) -> bool:
    return any(os.access(Path(each) / name, os.X_OK) for each in os.environ.get("PATH", os.defpath).split(":"))


def socat(beyond: Beyond, mode: str, options: str, address: str) -> subprocess.Popen[str]:
    """
    socat with an interface.
    """
    process = beyond.start("socat", f"TUN,tun-type={mode},tun-name=tts0{options}", address)
    beyond.setUp("tts0")
    return process


def vxlan(beyond: Beyond, vni: int = 42, *options: str) -> None:
    """
    The kernel's device.
    """
    arguments = f"type vxlan id {vni} local {FAR} remote {NEAR} dstport 4789".split()
    beyond.run("ip", "link", "add", "ttx0", "mtu", "1450", *arguments, *options)
    # It leaves checksums to the interface below; and veth, to nobody.
    beyond.run("ethtool", "-K", "ttx0", "tx", "off")
    beyond.setUp("ttx0")


def test_qemuListensForAConnection(beyond: Beyond, tmp_path: Path) -> None:
    qemu(beyond, f"socket,listen={FAR}:5000")
    with tunnel(tmp_path, "tap", "--connect", f"tcp:{FAR}:5000", "--framing", "qemu"):
        assertCarries(beyond, tmp_path)


def test_qemuConnects(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", f"tcp:5000:interface={NEAR}", "--framing", "qemu"):
        until(lambda: _status("ss", "-Hltn") == 0 and ":5000" in run("ss", "-Hltn"), "the listener")
        qemu(beyond, f"stream,server=off,addr.type=inet,addr.host={NEAR},addr.port=5000")
        assertPings(THERE_ADDRESS, THERE_ADDRESS6)
        assertCopies(beyond, tmp_path)


def test_qemusDatagrams(beyond: Beyond, tmp_path: Path) -> None:
    qemu(beyond, f"socket,udp={NEAR}:5001,localaddr={FAR}:5002")
    peer = f"udp:{FAR}:5002:bindAddress={NEAR}:bindPort=5001"
    with tunnel(tmp_path, "tap", "--connect", peer, "--framing", "qemu"):
        assertCarries(beyond, tmp_path)


def test_socatOverTCP(beyond: Beyond, tmp_path: Path) -> None:
    for pi in False, True:
        there = socat(beyond, "tun", "" if pi else ",iff-no-pi", "TCP-LISTEN:5000,reuseaddr")
        beyond.listens(5000)
        arguments = ["--connect", f"tcp:{FAR}:5000", "--framing", "socat:pi=yes" if pi else "socat"]
        with tunnel(tmp_path, "tun", *arguments):
            # Packets that come there close together it takes for one, fragments for instance.
            assertPings(THERE_ADDRESS, THERE_ADDRESS6, sizes=("0", "1300"))
            assertCopies(beyond, tmp_path, DATA[:300_000], "from there")
        there.wait(PATIENCE)


def test_socatsTunOverUDP(beyond: Beyond, tmp_path: Path) -> None:
    socat(beyond, "tun", ",iff-no-pi", f"UDP4-DATAGRAM:{NEAR}:5001,bind={FAR}:5002")
    with tunnel(tmp_path, "tun", "--connect", f"udp:{FAR}:5002:bindPort=5001", "--framing", "socat"):
        assertCarries(beyond, tmp_path)


def test_socatsTapOverUDP(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "udp:5001", "--framing", "bare:pi=yes"):
        # It is found, and answered, by what it sends.
        socat(beyond, "tap", "", f"UDP4-DATAGRAM:{NEAR}:5001,bind={FAR}:5002")
        assertCarries(beyond, tmp_path)


def test_theKernelsVXLAN(beyond: Beyond, tmp_path: Path) -> None:
    vxlan(beyond)
    peer = ["--connect", f"udp:{FAR}:4789", "--framing", "vxlan:vni=42", "--mtu", "1450"]
    with tunnel(tmp_path, "tap", *peer) as made:
        assertCarries(beyond, tmp_path)
        # ARP and neighbour discovery have come through, or nothing would have.
        assert "lladdr" in ip("neighbour", "show", THERE_ADDRESS)
        assert "lladdr" in ip("neighbour", "show", THERE_ADDRESS6)
        with beyond.socket(FAR, 0) as other:
            for datagram in packHeader(43) + bytes(60), bytes(68), b"", packHeader(42) + bytes(13):
                other.sendto(datagram, (NEAR, 4789))
        until(lambda: made.counter("inErrors") == 1, "the last")
        assert (made.counter("inOtherNetworks"), made.counter("inFramingErrors")) == (1, 2)


def test_garbageInDatagramsIsCounted(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "udp:5001", "--framing", "bare") as made, beyond.socket(FAR, 0) as peer:
        for datagram in b"", b"x", bytes(13), bytes(14 + 1501):
            peer.sendto(datagram, (NEAR, 5001))
        until(lambda: made.counter("inTooLong") == 1, "the last")
        assert (made.counter("inErrors"), made.counter("carriers")) == (3, 0)


@pytest.mark.parametrize(
    ("mode", "framing", "garbage"),
    [
        ("tap", "qemu", b"\xff\xff\xff\xff"),
        ("tap", "qemu", b"GET / HTTP/1.1\r\n\r\n"),
        ("tun", "socat", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        ("tun", "socat", b"\x45\0\0\x13" + bytes(16)),
        ("tun", "socat", bytes(100)),
    ],
    ids=["length", "text to QEMU", "text to socat", "header", "zeros"],
)
def test_garbageInAStreamEndsTheConnection(
    beyond: Beyond, tmp_path: Path, mode: str, framing: str, garbage: bytes
) -> None:
    with tunnel(tmp_path, mode, "--listen", "tcp:5000", "--framing", framing) as made:
        until(lambda: ":5000" in run("ss", "-Hltn"), "the listener")
        for _ in range(3):
            with socket.create_connection((NEAR, 5000)) as peer:
                peer.settimeout(PATIENCE)
                peer.sendall(garbage)
                assert _untilClosed(peer)
        assert made.counter("inFramingErrors") == 3


def _untilClosed(peer: socket.socket) -> bool:
    try:
        while peer.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_halfAFrameAndNothingForEver(beyond: Beyond, tmp_path: Path) -> None:
    with tunnel(tmp_path, "tap", "--listen", "tcp:5000", "--framing", "qemu") as made, ExitStack() as stack:
        until(lambda: ":5000" in run("ss", "-Hltn"), "the listener")
        for data in b"\0\0", b"\0\0\x05\xdc" + bytes(700), b"":
            peer = stack.enter_context(socket.create_connection((NEAR, 5000)))
            peer.sendall(data)
        # Each is followed by the next, and none has done harm.
        until(lambda: made.counter("carriers") == 3, "the last")
        peer.sendall(b"\0\0\0\x3c" + b"\xff" * 6 + bytes(54))
        until(lambda: made.counter("inPackets") == 1, "a frame")
