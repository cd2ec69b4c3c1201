"""
Tests for captures of real devices, made by a port or by C{txtuntap capture}, and read by C{tshark}.
"""

from __future__ import annotations

import errno
import os
import pty
import select
import signal
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.real.lab.capturing import (
    COMMAND,
    ENVIRONMENT,
    Capturing,
    Running,
    about,
    assertClean,
    cleanFields,
    fields,
    runCapture,
)
from tests.real.lab.ending import endOrderly
from tests.real.lab.host import Host, ask
from tests.real.lab.link import delete, setUp
from tests.real.lab.namespace import PATIENCE, Namespace, another, ip, needRoot, tool, until
from tests.real.lab.reactors import Run, onOneReactor
from tests.real.lab.switch import RunningSwitch, machines
from tests.real.test_port import onBothKinds
from tests.real.test_superpackets import DATA, asking, echoed
from tests.superpackets import superpacket
from txtuntap import Host as HostStack
from txtuntap import TuntapPort
from txtuntap.command import capture as capturecommand
from txtuntap.command import main
from txtuntap.command.source import SocketSource, SourceEnded
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.device.linux.packetsocket import PacketSocket
from txtuntap.middleware import Capture, CaptureFile
from txtuntap.testing import ethernetFrame, udpPacket
from txtuntap.udp.echo import Echo
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import readCapture
from txtuntap.wire.offload import UDP
from txtuntap.wire.pcapng import OUTBOUND

#: Runs a test twice: with packets from the service's control socket, and with packets from a packet socket.
bothSources = pytest.mark.parametrize("control", [True, False], ids=["control", "packet-socket"])

#: The directions of packets, as C{tshark} prints them.
_IN, _OUT = "0x00000001", "0x00000002"


def serviceOptions(control: bool) -> tuple[str, ...]:
    """
    Return the options of a service.

    @param control: whether the service has a control socket.
    """
    if control:
        needRoot()
    return () if control else ("--no-control",)


@onOneReactor
@onBothKinds
async def test_aPortRecordsItsPackets(run: Run, mode: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "trace.pcapng")
        host = HostStack(["10.9.0.2/24", "fd09::2/64"], run.reactor)
        host.listenUDP(7, Echo(frozenset([7])))
        capture = Capture(path, host.ethernet if mode == TAP else host.ip)
        port = TuntapPort("tt0", capture, reactor=run.reactor)
        port.startListening()
        setUp("tt0", "10.9.0.1/24", "fd09::1/64")
        capture.comment("of the first packet")
        for version in 4, 6:
            await echoed(run, version)
        assert port.counters["inSuperpackets"] and port.counters["outSuperpackets"]
        await port.stopListening()
        names = "frame.time_epoch", "frame.interface_name", "frame.comment"
        udp = "frame.packet_flags_direction", "udp.srcport", "udp.length"
        every = cleanFields(path, "frame", *names, *udp, "icmp.type", "icmpv6.type")
        assert {row[1] for row in every} == {"tt0"}
        assert [row[2] for row in every] == ["of the first packet"] + [""] * (len(every) - 1)
        # The times are in nanoseconds, so not all of them are whole microseconds.
        assert any(not row[0].endswith("000") for row in every)
        # ICMP errors are left out, because they quote the header of a datagram.
        found = [row[3:6] for row in every if row[5] and row[6:] == ["", ""]]
        assert {length for _, _, length in found} == {"1008", "25"}
        assert {direction for direction, source, _ in found if source == "7"} == {_OUT}
        assert {direction for direction, source, _ in found if source != "7"} == {_IN}
        assert len([1 for direction, _, _ in found if direction == _OUT]) >= 62
        assert capture.counters["captureDrops"] == 0


@onOneReactor
async def test_filesAreRotated(run: Run) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "trace.pcapng")
        host = HostStack(["10.9.0.2/24", "fd09::2/64"], run.reactor)
        host.listenUDP(7, Echo(frozenset([7])))
        port = TuntapPort("tt0", Capture(CaptureFile(path, maxOctets=20_000, files=3), host.ip), reactor=run.reactor)
        port.startListening()
        setUp("tt0", "10.9.0.1/24", "fd09::1/64")
        await echoed(run, 4)
        await port.stopListening()
        files = sorted(Path(directory).iterdir())
        assert [file.name for file in files] == ["trace.1.pcapng", "trace.2.pcapng", "trace.pcapng"]
        for file in files:
            assertClean(file)
            with file.open("rb") as opened:
                assert list(readCapture(opened))


@pytest.mark.parametrize(("mode", "control"), [("tun", True), ("tap", False)])
def test_theCommandRecordsBothDirections(namespace: Namespace, tmp_path: Path, mode: str, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    with (
        Host(tmp_path, mode, more=serviceOptions(control)),
        Capturing(path, "--comment", "one", "--comment", "two") as capturing,
    ):
        for address in "10.9.0.2", "fd09::2":
            assert ask(address, b"hello") == b"hello"
        printed = capturing.stop()
    found = cleanFields(path, "frame", "frame.packet_flags_direction", "udp.srcport", "frame.interface_name")
    asked = [(direction, source == "7") for direction, source, _ in found if source]
    assert asked == [(_IN, False), (_OUT, True)] * 2
    assert {name for _, _, name in found} == {"tt0"}
    assert printed == [f"{len(found)} packets captured", "0 packets dropped"]
    text = about(path)
    for words in "nanoseconds (9)", "Capture comment:     one", "txtuntap", f"Number of packets = {len(found)}":
        assert words in text, text
    assert ("Ethernet (1 - ether)" if mode == "tap" else "Raw IP") in text


@pytest.mark.parametrize(("mode", "control"), [("tap", True), ("tun", False)])
def test_superpacketsAreRecordedAsTheirPackets(namespace: Namespace, tmp_path: Path, mode: str, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    with Host(tmp_path, mode, more=serviceOptions(control)) as host, Capturing(path, "--direction", "in") as capturing:
        for version in 4, 6:
            with asking(version, False) as asker:
                asker.send(DATA)
                got = 0

                def hasAll(asker: socket.socket = asker) -> bool:
                    nonlocal got
                    got += len(asker.recv(2000))
                    return got == len(DATA)

                asker.setblocking(True)
                asker.settimeout(PATIENCE)
                until(hasAll, "the whole echo")
        capturing.stop(signal.SIGHUP)
        os.kill(host.process.pid, signal.SIGUSR2)
        until(lambda: "inSuperpackets" in host.log(), "counters")
    found = cleanFields(path, "udp.dstport == 7", "frame.packet_flags_direction", "udp.length")
    assert found == ([[_IN, "1008"]] * 30 + [[_IN, "25"]]) * 2


@bothSources
def test_aTCPStreamIsRecordedInBothDirections(namespace: Namespace, tmp_path: Path, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    sent = bytes(range(251)) * 1000
    with (
        machines(2) as (near, far),
        RunningSwitch(tmp_path, [near, far], more=serviceOptions(control)) as switch,
        far.do(lambda: socket.create_server((far.address, 4000))) as server,
        Capturing(path, before=("-n", near.path)) as capturing,
    ):
        with near.do(lambda: socket.create_connection((far.address, 4000), PATIENCE)) as client:
            echoing, _ = server.accept()
            with echoing:
                # Send data to the echoing end, and then back.
                for this, other in (client, echoing), (echoing, client):
                    sending = threading.Thread(target=this.sendall, args=(sent,))
                    sending.start()
                    other.settimeout(PATIENCE)
                    with other.makefile("rb") as file:
                        assert file.read(len(sent)) == sent
                    sending.join()
        assert capturing.stop()[1] == "0 packets dropped"
        switch.counters(near)
        for counter in "inSuperpackets", "outSuperpackets":
            assert counter in switch.log()
    names = "frame.packet_flags_direction", "tcp.dstport", "tcp.seq", "tcp.payload"
    found = cleanFields(path, "tcp.len > 0", *names)
    assert {direction for direction, port, _, _ in found if port == "4000"} == {_IN}
    for direction in _IN, _OUT:
        pieces = {int(sequence): bytes.fromhex(payload) for each, _, sequence, payload in found if each == direction}
        assert max(map(len, pieces.values())) <= 1460
        # Retransmitted segments may be there twice, but none is missing.
        received = bytearray(len(sent))
        for sequence, piece in pieces.items():
            received[sequence - 1 : sequence - 1 + len(piece)] = piece
        assert received == sent


@bothSources
def test_theCaptureEndsAfterCountPackets(namespace: Namespace, tmp_path: Path, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    arguments = "--count", "2", "--direction", "out", "--snaplen", "30"
    with Host(tmp_path, more=serviceOptions(control)), Capturing(path, *arguments) as capturing:
        until(lambda: ask("10.9.0.2", b"hello") and capturing.process.poll() is not None, "two packets")
        assert capturing.ended(0) == ["2 packets captured", "0 packets dropped"]
    found = fields(path, "frame", "frame.packet_flags_direction", "frame.cap_len", "frame.len", "ip.src")
    assert found == [[_OUT, "30", "33", "10.9.0.2"]] * 2


def test_tsharkReadsARunningCapture(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    with Host(tmp_path, "tap"):
        capturing = subprocess.Popen(
            [*COMMAND, "capture", "tt0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        shark = subprocess.Popen(
            [tool("tshark"), "-l", "-r", "-", "-Y", "icmp"],
            stdin=capturing.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert capturing.stdout is not None and shark.stdout is not None
        capturing.stdout.close()
        try:
            ping = subprocess.Popen([tool("ping"), "-i", "0.2", "10.9.0.2"], stdout=subprocess.DEVNULL)
            # tshark reads packets while the capture runs.
            assert "Echo (ping)" in shark.stdout.readline()
            # The capture ends once its reader has ended.
            shark.kill()
            assert capturing.wait(PATIENCE) == 0
        finally:
            for process in ping, shark, capturing:
                process.kill()
                process.wait()
            shark.stdout.close()


@bothSources
def test_deletingTheInterfaceEndsTheCapture(namespace: Namespace, tmp_path: Path, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    with Host(tmp_path, more=serviceOptions(control)), Capturing(path) as capturing:
        assert ask("10.9.0.2", b"hello") == b"hello"
        delete("tt0")
        printed = capturing.ended(1)
    assert printed[1] == "0 packets dropped"
    assert printed[2] in ("txtuntap: tt0 is gone", "txtuntap: the service that held tt0 has ended"), printed
    assert len(cleanFields(path, "udp.port == 7", "udp.port")) == 2


def test_packetsOfADeletedInterfaceAreStillRead(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN) as device:
        setUp("tt0", "10.9.0.1/24")
        source = SocketSource("tt0", TUN, None)
        try:
            device.send([udpPacket("10.9.0.2", "10.9.0.1", 7, 9, b"hello")])
            delete("tt0")
            packets = source.receive()
            assert [each.data[-5:] for each in packets if each.data[9:10] == b"\x11"] == [b"hello"]
            with pytest.raises(SourceEnded):
                source.receive()
        finally:
            source.close()


def test_theEndOfTheServiceEndsTheCapture(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    path = tmp_path / "trace.pcapng"
    with Host(tmp_path) as host, Capturing(path) as capturing:
        assert ask("10.9.0.2", b"hello") == b"hello"
        endOrderly(host)
        printed = capturing.ended(1)
    assert printed[2] == "txtuntap: the service that held tt0 has ended"
    assertClean(path)


@bothSources
def test_anInterfaceInAnotherNamespaceIsCaptured(namespace: Namespace, tmp_path: Path, control: bool) -> None:
    path = tmp_path / "trace.pcapng"
    with another() as there:
        namespacePath = f"/proc/{os.getpid()}/fd/{there}"
        options = serviceOptions(control)

        def startHost() -> Host:
            return Host(tmp_path, more=options).__enter__()

        host = inNamespace(there, startHost)
        try:
            with Capturing(path, before=("-n", namespacePath)) as capturing:
                inNamespace(there, lambda: ask("10.9.0.2", b"hello"))
                capturing.stop()
        finally:
            host.__exit__()
    assert len(fields(path, "udp.port == 7", "udp.port")) == 2


def test_withoutPrivilegeTheReceiveBufferIsTheSystemsLimit(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Socket(socket.socket):
        """
        The socket of a process without C{CAP_NET_ADMIN}, which may not use C{SO_RCVBUFFORCE} (33).
        """

        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            if (level, option) == (socket.SOL_SOCKET, 33):
                raise PermissionError
            super().setsockopt(level, option, *value)

    with LinuxDevice("tt0", TUN), monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Socket)
        seen = PacketSocket("tt0", TUN)
        try:
            # The kernel reports twice the granted size, with room for its own records.
            granted = int(Path("/proc/sys/net/core/rmem_max").read_text()) * 2
            assert seen._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == min(granted, 32 << 20)
        finally:
            seen.close()


def test_aPacketThatTheKernelCannotDescribeIsDropped(namespace: Namespace, tmp_path: Path) -> None:
    # Linux accepts UDP fragmentation offload (VIRTIO_NET_HDR_GSO_UDP) from a device, but cannot return it in a header.
    path = tmp_path / "trace.pcapng"
    packet, offload, _ = superpacket(4, UDP, bytes(3000), 1000)
    with LinuxDevice("tt0", TUN) as device:
        device.close()
        device.open(True)
        setUp("tt0")
        with Capturing(path, "--direction", "out", "--count", "2") as capturing:
            device.send([packet], replace(offload, type=3))
            for _ in range(2):
                device.send([udpPacket("10.9.0.2", "10.9.0.1", 7, 4000, b"later")])
            assert capturing.ended(0) == ["2 packets captured", "1 packets dropped"]
    assert cleanFields(path, "udp", "udp.dstport") == [["4000"]] * 2


@pytest.mark.parametrize("lacking", [(8, 15), (15,)])
def test_aPacketSocketWorksOnAKernelWithFewerOptions(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, lacking: tuple[int, ...]
) -> None:
    class Socket(socket.socket):
        """
        The packet socket of a kernel without C{PACKET_AUXDATA} (8), or without C{PACKET_VNET_HDR} (15).
        """

        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            if level == 263 and option in lacking:
                raise OSError(errno.ENOPROTOOPT, "Protocol not available")
            super().setsockopt(level, option, *value)

    packet = udpPacket("10.9.0.2", "10.9.0.1", 7, 4000, b"hello")
    with LinuxDevice("tt0", TUN) as device, monkeypatch.context() as patched:
        setUp("tt0")
        patched.setattr(socket, "socket", Socket)
        seen = PacketSocket("tt0", TUN)
        try:
            device.send([packet])
            found = until(lambda: [each for each in seen.receive() or () if each.direction == OUTBOUND], "the packet")
            assert [each.data for each in found] == [packet]
        finally:
            seen.close()


def test_vlanTagsAreRecorded(namespace: Namespace, tmp_path: Path) -> None:
    # The kernel strips the tag from a frame before a packet socket receives it, and reports the tag separately.
    path = tmp_path / "trace.pcapng"
    inner = udpPacket("10.9.0.2", "10.9.0.1", 7, 4000, b"tagged")
    with LinuxDevice("tt0", TAP) as device:
        setUp("tt0")
        with Capturing(path, "--direction", "out") as capturing:
            device.send([ethernetFrame(b"\xff" * 6, b"\2\0\0\0\0\7", 0x8100, b"\x60\x07\x08\x00" + inner)])
            until(lambda: fields(path, "vlan", "vlan.id"), "the frame")
            capturing.stop()
    assert cleanFields(path, "udp", "vlan.id", "vlan.priority", "udp.dstport") == [["7", "3", "4000"]]


def test_aSignalEndsACaptureWhosePipeIsFull(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturecommand, "_CLOSING", 0.2)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading, writing = (os.open(path, mode | os.O_NONBLOCK) for mode in (os.O_RDONLY, os.O_WRONLY))
    try:
        with LinuxDevice("tt0", TUN) as device:
            setUp("tt0", "10.9.0.1/24")
            process = Running(["capture", "tt0", "-w", str(path)])
            try:
                until(lambda: select.select([reading], [], [], 0)[0], "the capture to begin")
                for _ in range(200):
                    # The packets are longer together than the pipe can hold.
                    device.send([udpPacket("10.9.0.2", "10.9.0.1", 7, 4000, bytes(1000))])
                until(lambda: not select.select([], [writing], [], 0)[1], "the pipe to be full")
                process.send_signal(signal.SIGTERM)
                until(lambda: process.poll() is not None, "the end")
                assert process.returncode == 1
                assert process.said().splitlines()[-1].startswith("txtuntap: nobody reads the output: ")
            finally:
                process.end()
    finally:
        os.close(reading)
        os.close(writing)


def test_wrongInterfacesAndFilesAreRefused(
    namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ip("link", "add", "tt1", "type", "bridge")
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    (tmp_path / "trace").write_text("not emptied for nothing")
    for arguments, words in (
        (["tt9", "-w", str(tmp_path / "trace")], "tt9"),
        (["tt1", "-w", str(tmp_path / "trace")], "no TUN or TAP device"),
        (["tt0", "-w", "/nowhere/trace"], "No such file"),
    ):
        assert main(["capture", *arguments]) == 1
        printed = capsys.readouterr()
        assert words in printed.err.splitlines()[-1]
        assert "Traceback" not in printed.err
        assert printed.out == ""
    status, text = runCapture("tt9", "-w", str(tmp_path / "trace"))
    assert status == 1
    assert "tt9" in text.splitlines()[-1]
    assert "Traceback" not in text
    assert (tmp_path / "trace").read_text() == "not emptied for nothing"


def test_theCommandWaitsForAReaderOfItsPipe(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    command = Running(["capture", "tt0", "-w", str(path)])
    try:
        with path.open("rb") as reading:
            assert reading.read(4) == pcapng.SECTION_HEADER.to_bytes(4, "little")
            command.send_signal(signal.SIGTERM)
            until(lambda: command.poll() is not None, "the end of a capture")
        assert command.returncode == 0
    finally:
        command.end()


def test_aSignalEndsTheWaitForAReaderOfThePipe(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    command = Running(["capture", "tt0", "-w", str(path)])
    try:
        # Once it has the packet socket, the command handles signals and waits for a reader.
        until(lambda: packetSockets() == 1, "a packet socket")
        command.send_signal(signal.SIGTERM)
        until(lambda: command.poll() is not None, "the end of a capture")
        assert (command.returncode, command.said()) == (1, f"txtuntap: nobody has opened {path} for reading\n")
    finally:
        command.end()


def packetSockets() -> int:
    """
    Count the packet sockets in this network namespace.
    """
    return len(Path("/proc/thread-self/net/packet").read_text().splitlines()) - 1


def test_aTerminalAsOutputIsRefused(namespace: Namespace) -> None:
    here, there = pty.openpty()
    try:
        finished = subprocess.run(
            [*COMMAND, "capture", "tt0"], stdout=there, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
        )
    finally:
        os.close(here)
        os.close(there)
    assert finished.returncode == 1
    assert "give '-w FILE', or '| wireshark -k -i -'" in finished.stderr


def test_aFullDiskIsReported(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN):
        setUp("tt0", "10.9.0.1/24")
        finished = subprocess.run(
            [*COMMAND, "capture", "tt0", "-w", "/dev/full"],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
    assert finished.returncode == 1
    assert "No space left on device" in finished.stderr
    assert "Traceback" not in finished.stderr
