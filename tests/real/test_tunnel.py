"""
Tunnels between two network namespaces that are joined by a veth pair.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Certificate, certificate
from tests.long import lengths
from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.namespace import PATIENCE, Namespace, tool, until
from tests.real.lab.tcpdump import captured
from tests.real.lab.tunnel import HERE, INNER_HERE, INNER_THERE, PORT, End, Place, joined, tunnel, untilUp

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])

#: The greatest memory, in octets, that a stalled tunnel takes more than another one: see docs/bounds.md.
STALLED = 8 * 1024 * 1024

Places = tuple[Place, Place]


@pytest.fixture
def places(namespace: Namespace) -> Iterator[Places]:
    """
    Make the namespaces of the ends of a tunnel.
    """
    with joined() as both:
        yield both


def _mutual(directory: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Certificate, Certificate]]:
    """
    Return the options of both ends, each of which trusts only the certificate of the other.
    """
    here, there = certificate(directory, "here"), certificate(directory, "there")
    listening = "--certificate", here.file, "--trust", there.public
    return listening, ("--certificate", there.file, "--pin", here.pin), (here, there)


def _iperf(places: Places, *arguments: str) -> float:
    """
    Run iperf3 from there to here, or with C{-R} from here to there. Return the bits per second.
    """
    with places[0].running("iperf3", "-s", "-1", "-J"):

        def measured() -> Any:
            command = [tool("iperf3"), "-J", "-c", INNER_HERE, *arguments]
            done = places[1].call(lambda: subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False))
            found = json.loads(done.stdout or b"{}")
            return found.get("end")

        end = until(measured, "iperf3's result")
    return float((end.get("sum_received") or end["sum"])["bits_per_second"])


@KINDS
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
def test_aTunnelCarriesPingsAndIperf(places: Places, tmp_path: Path, mode: str, secured: bool) -> None:
    options = _mutual(tmp_path)[:2] if secured else (("--insecure",), ("--insecure",))
    with tunnel(places, tmp_path, mode, *options) as ends:
        untilUp(ends)
        places[1].pings(INNER_HERE, 5)
        places[0].pings(INNER_THERE, 5, "-s", "5000")
        for way in (), ("-R",):
            assert _iperf(places, "-n", "50M", *way) > 0
            assert _iperf(places, "-u", "-b", "100M", "-n", "2M", *way) > 0
        # Superpackets were sent whole.
        assert ends[0].counters("port")["outSuperpackets"] > 0


@KINDS
def test_datagramsOfOneReadArriveAsOneSuperpacket(places: Places, tmp_path: Path, mode: str) -> None:
    said = [os.urandom(1000) for _ in range(100)] + [os.urandom(10)]
    with tunnel(places, tmp_path, mode) as ends:
        untilUp(ends)
        before = ends[0].counters("port")
        receiver, sender = (place.call(lambda: socket.socket(type=socket.SOCK_DGRAM)) for place in places)
        with receiver, sender:
            receiver.settimeout(PATIENCE)
            receiver.bind((INNER_HERE, 7000))
            sender.connect((INNER_HERE, 7000))
            # Datagrams wait in the interface's queue while the process does not run.
            ends[1].process.send_signal(signal.SIGSTOP)
            for each in said:
                sender.send(each)
            ends[1].process.send_signal(signal.SIGCONT)
            assert [receiver.recv(2000) for _ in said] == said
        after = ends[0].counters("port")
    # The kernel may send other packets in between.
    assert 2 <= after["outSuperpackets"] - before.get("outSuperpackets", 0) <= 5
    assert after["outPackets"] - before["outPackets"] >= len(said)


class Transfer:
    """
    A file that is sent through a tunnel, from the second place to the first.
    """

    def __init__(self, places: Places, directory: Path, octets: int) -> None:
        self.source, self.target = directory / "source", directory / "target"
        self.source.write_bytes(os.urandom(octets))
        self._octets = octets
        listen = [tool("socat"), "-u", "TCP-LISTEN:7000,reuseaddr", f"CREATE:{self.target}"]
        send = [
            tool("socat"),
            "-u",
            f"FILE:{self.source}",
            f"TCP:{places[0].inner}:7000,retry={PATIENCE * 10:.0f},interval=0.1",
        ]
        self._processes = [
            places[0].call(lambda: subprocess.Popen(listen)),
            places[1].call(lambda: subprocess.Popen(send)),
        ]

    def octets(self) -> int:
        """
        The number of octets that have arrived.
        """
        return self.target.stat().st_size if self.target.exists() else 0

    def finish(self) -> None:
        """
        Wait for the end of the transfer, and compare the file.
        """
        try:
            for process in reversed(self._processes):
                assert process.wait(2 * PATIENCE * max(1, self._octets >> 27)) == 0
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
        assert sha256(self.target.read_bytes()).digest() == sha256(self.source.read_bytes()).digest()


@lengths("octets", 1 << 27, 1 << 30, "transfers")
@pytest.mark.parametrize("killed", [0, 1], ids=["listener", "connector"])
def test_aTransferContinuesAfterARestartOfOneEnd(places: Places, tmp_path: Path, killed: int, octets: int) -> None:
    # A persistent device keeps its addresses.
    stays = "--insecure", "--persistent"
    try:
        with tunnel(places, tmp_path, "tun", stays, stays) as ends:
            untilUp(ends)
            transfer = Transfer(places, tmp_path, octets)
            until(lambda: transfer.octets() > 1_000_000, "a part of the file")
            ends[killed].kill()
            before = transfer.octets()
            assert before < transfer.source.stat().st_size
            ends[killed].start()
            transfer.finish()
    finally:
        for place in places:
            place.run("ip", "link", "delete", "tt0")


def test_aTransferSucceedsInSpiteOfLoss(places: Places, tmp_path: Path) -> None:
    rules = "table inet lossy { chain in { type filter hook input priority 0; numgen random mod 10 0 drop; }; }"
    with tunnel(places, tmp_path) as ends:
        untilUp(ends)
        for place in places:
            place.run("nft", rules)
        Transfer(places, tmp_path, 2 * 1024 * 1024).finish()


def test_anEavesdropperReadsNothing(places: Places, tmp_path: Path) -> None:
    listening, connecting, _ = _mutual(tmp_path)
    plaintext = b"the quick brown fox jumps over the lazy dog"

    def overheard(name: str, *options: tuple[str, ...]) -> bytes:
        capture = tmp_path / f"{name}.pcap"
        with tunnel(places, tmp_path, "tun", *options) as ends:
            untilUp(ends)
            with captured(capture, "ttv"):
                pattern = plaintext[:16].hex()
                places[1].run("ping", "-c", "3", "-i", "0.05", "-s", "512", "-p", pattern, INNER_HERE)
                until(lambda: capture.exists() and capture.stat().st_size > 3000, "packets in the capture")
        return capture.read_bytes()

    # Without TLS, the data can be read.
    assert plaintext[:16] * 2 in overheard("plain", ("--insecure",), ("--insecure",))
    assert plaintext[:16] not in overheard("secured", listening, connecting)


def test_unauthenticatedClientsAreRefusedAndLoggedOnce(places: Places, tmp_path: Path) -> None:
    listening, connecting, _ = _mutual(tmp_path)
    stranger = certificate(tmp_path, "stranger")
    with tunnel(places, tmp_path, "tun", listening, connecting) as ends:
        untilUp(ends)
        plain = tool("openssl"), "s_client", "-connect", f"{HERE}:{PORT}", "-quiet"
        none: list[str] = [*plain]
        wrong = [*plain, "-cert", stranger.public, "-key", stranger.file]

        def attempt(command: list[str]) -> None:
            subprocess.run(command, input=b"txtuntap" * 100, capture_output=True, timeout=PATIENCE, check=False)

        for _ in range(5):
            places[1].call(lambda: attempt(none))
            places[1].call(lambda: attempt(wrong))
        # This client does not use TLS.
        silent = places[1].call(lambda: socket.create_connection((HERE, PORT)))
        silent.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: silent.recv(1000) == b"", "the end of a connection in plain text")
        silent.close()
        until(lambda: ends[0].counters().get("inRefused", 0) >= 11, "refusals")
        refusals = [line for line in ends[0].log().splitlines() if "No tunnel with" in line]
        # Each reason is logged once.
        assert len(refusals) == len({line.rpartition(": ")[2] for line in refusals}) <= 4, refusals
        assert any("certificate" in line for line in refusals), refusals
        untilUp(ends)
        assert ends[0].counters()["carriers"] == 1


def test_aPeerOfAnotherModeIsLoggedOnce(places: Places, tmp_path: Path) -> None:
    with tunnel(places, tmp_path) as ends:
        untilUp(ends)
        ends[1].stop()
        other = End(places[1], "tap", tmp_path / "other", ("--connect", f"tcp:{HERE}:{PORT}", "--insecure"))
        try:
            until(
                lambda: "its interface is a tun (IP packets), and this end's is a tap" in other.log(),
                "a line in the log of the other end",
            )
            until(lambda: "its interface is a tap (Ethernet frames)" in ends[0].log(), "a line in the log of this end")
            until(lambda: ends[0].counters()["inFramingErrors"] >= 2, "another attempt")
            for log in ends[0].log(), other.log():
                assert log.count("its interface is") == 1, log
        finally:
            other.stop()


@KINDS
def test_longPacketsAreFragmentedOrReported(places: Places, tmp_path: Path, mode: str) -> None:
    six = "fd09::1", "fd09::2"
    here, there = (("--insecure", "--kernel-address", f"{address}/64") for address in six)
    allowed = "--allow", f"{INNER_THERE}/32", "--allow", f"{six[1]}/128", "--allow", "fe80::/10"
    with tunnel(places, tmp_path, mode, (*here, *allowed), (*there, "--mtu", "1300")) as ends:
        untilUp(ends)
        places[0].call(lambda: pingUntilAnswered(six[1]))
        # Packets that may be fragmented arrive: here in fragments of 1500 octets, there in fragments of 1300.
        places[0].pings(INNER_THERE, 3, "-M", "dont", "-s", "4000")
        assert ends[1].counters()["inFragmented"] >= 3
        # The kernel at the other end does not announce its MTU, so the tunnel has to send the error.
        network = f"{INNER_THERE.rpartition('.')[0]}.0/24"
        places[1].run("ip", "route", "replace", network, "dev", "tt0", "src", INNER_THERE, "advmss", "1460")
        assert _iperf(places, "-R", "-n", "2M") > 0
        assert ends[1].counters()["outTooBigs"] >= 1
        for address in INNER_THERE, six[1]:
            places[0].run("ip", "-6" if ":" in address else "-4", "route", "flush", "cache")
            ping = partial(places[0].run, "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1400", address, status=1)
            said = ping()
            assert "mtu = 1300" in said or "mtu=1300" in said, said
            assert "mtu 1300" in places[0].run("ip", "route", "get", address)


def test_aPeerMaySendOnlyFromWhereItIsAllowed(places: Places, tmp_path: Path) -> None:
    with tunnel(places, tmp_path, "tun", ("--insecure", "--allow", f"{INNER_THERE}/32")) as ends:
        untilUp(ends)
        places[1].run("ip", "address", "add", "10.9.0.77/24", "dev", "tt0")
        places[1].run("ping", "-c", "3", "-i", "0.05", "-W", "1", "-I", "10.9.0.77", INNER_HERE, status=1)
        until(lambda: ends[0].counters().get("inForbidden", 0) >= 3, "all to be counted")


@pytest.mark.measures
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
def test_memoryOfAStalledTunnelIsBounded(places: Places, tmp_path: Path, secured: bool) -> None:
    options = _mutual(tmp_path)[:2] if secured else (("--insecure",), ("--insecure",))
    with tunnel(places, tmp_path, "tun", *options) as ends:
        untilUp(ends)
        before = _resident(ends[1])
        # The stopped end reads nothing, while its peer sends a lot.
        ends[0].process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(2):
                flood = "socat", "-u", "-b", "1300", "OPEN:/dev/zero,readbytes=30000000", f"UDP:{INNER_HERE}:9"
                places[1].run(*flood)
            assert _resident(ends[1]) - before < STALLED
        finally:
            ends[0].process.send_signal(signal.SIGCONT)
        untilUp(ends)


def _resident(end: End) -> int:
    """
    Return the octets of memory of a process.
    """
    status = Path(f"/proc/{end.process.pid}/status").read_text().splitlines()
    (line,) = (each for each in status if each.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def test_anAddressThatIsInUseIsAnErrorInOneLine(places: Places, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", PORT))
        taken.listen()
        end = End(places[0], "tun", tmp_path / "end", ("--listen", f"tcp:{PORT}", "--insecure"))
        assert end.process.wait(PATIENCE) == 1
        assert f"twistd tuntap: Couldn't listen on any:{PORT}" in end.log()
        assert "Traceback" not in end.log()
