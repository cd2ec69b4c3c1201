"""
Several ports on one device, each with a queue of its own (C{IFF_MULTI_QUEUE}), and the settings that a program makes on
an open device.

C{python -m tests.real.test_queues NAME MODE} is a second process on such a device.
"""

from __future__ import annotations

import fcntl
import platform
import select
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.device.contract import MARK
from tests.paths import CHECKOUT
from tests.real.lab.link import PacketSocket, delete, setUp, show
from tests.real.lab.namespace import PATIENCE, interfaces
from tests.real.lab.reactors import Run, onEachReactor, outcome
from tests.real.test_port import Recorder, onBothKinds
from tests.recorders import DatagramRecorder, forPort
from txtuntap import InterfaceLost, Packet, RawUDPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device import monitor as events
from txtuntap.device.linux import LinuxDevice, ioctl
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor
from txtuntap.device.state import readInterface
from txtuntap.testing import ethernetFrame, udpPacket

#: The flows of a test. The kernel assigns each at random to one of two queues. All get the same one once in 2**63.
FLOWS = range(64)

#: The number of TUNGETSNDBUF, a constant of C{linux/if_tun.h}.
_GET_SEND_BUFFER = ioctl.number("read", "T", 211, 4, platform.machine())


def packetOf(flow: int, mode: int, answer: bool = False) -> bytes:
    """
    Make a packet of a flow that comes from the network behind the device, or a packet that answers it.
    """
    ends = (("10.9.0.1", 20000 + flow), ("10.9.0.2", 1234))
    (source, sourcePort), (dest, destPort) = reversed(ends) if answer else ends
    packet = udpPacket(source, dest, sourcePort, destPort, MARK + b" %d" % flow)
    return ethernetFrame("02:00:00:00:00:aa", "02:00:00:00:00:bb", 0x0800, packet) if mode == TAP else packet


def flowOf(packet: Packet) -> int:
    """
    Return the number of a packet's flow.
    """
    return int(bytes(packet).rpartition(MARK)[2])


class Queue:
    """
    A port with a queue of its own.

    @ivar port: the port.
    @ivar recorder: the protocol on the port.
    """

    def __init__(self, name: str, mode: int, reactor: Any) -> None:
        self.recorder = forPort(Recorder(), mode)
        self.port = TuntapPort(name, self.recorder, reactor=reactor, device=LinuxDevice(name, mode, multiQueue=True))

    def come(self) -> list[int]:
        """
        Return the flows of the received packets, in order.
        """
        return [flowOf(packet) for packet in self.recorder.packets]


class Queues:
    """
    Several ports on one device that is up, and a socket of the kernel behind it.
    """

    def __init__(self, run: Run, mode: int, network: PacketSocket, queues: Sequence[Queue]) -> None:
        self._run = run
        self._mode = mode
        self._network = network
        self.queues = queues

    def send(self, flows: Iterable[int]) -> None:
        """
        Send a packet of each flow.
        """
        for flow in flows:
            self._network.send(packetOf(flow, self._mode))

    async def shares(self, flows: Sequence[int] = FLOWS) -> list[list[int]]:
        """
        Send a packet of each flow, and check that each is received once.

        @return: for each port, the flows that it has received.
        """
        for queue in self.queues:
            queue.recorder.packets.clear()
        self.send(flows)
        await self._run.until(lambda: sum(len(queue.come()) for queue in self.queues) >= len(flows), "packets")
        await self._run.turns()
        found = [queue.come() for queue in self.queues]
        assert sorted(flow for share in found for flow in share) == list(flows)
        return found


@contextmanager
def opened(run: Run, mode: int, count: int = 2) -> Iterator[Queues]:
    """
    Make a number of ports that listen.
    """
    name = f"tt{mode}"
    queues = [Queue(name, mode, run.reactor) for _ in range(count)]
    for queue in queues:
        queue.port.startListening()
    setUp(name)
    with PacketSocket(name, mode) as network:
        yield Queues(run, mode, network, queues)


async def stop(queues: Iterable[Queue]) -> None:
    """
    Stop all of the ports.
    """
    for queue in queues:
        await queue.port.stopListening()
    assert interfaces() == set()


@onEachReactor
@onBothKinds
async def test_flowsAreSpreadOverThePorts(run: Run, mode: int) -> None:
    with opened(run, mode, 3) as under:
        for share in await under.shares():
            # Packets of a queue stay in the order in which they were sent.
            assert 0 < len(share) < len(FLOWS)
            assert share == sorted(share)
        assert readInterface(f"tt{mode}").multiQueue
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_aFlowMovesToThePortThatAnswersIt(run: Run, mode: int) -> None:
    with opened(run, mode) as under:
        for flow in range(8):
            for queue in under.queues:
                queue.port.write(packetOf(flow, mode, answer=True))
                assert [bool(share) for share in await under.shares([flow])] == [each is queue for each in under.queues]
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_noPortReceivesThePacketsOfAnother(run: Run, mode: int) -> None:
    with opened(run, mode) as under, PacketSocket(f"tt{mode}", mode) as network:
        packets = [packetOf(flow, mode, answer=True) for flow in range(2)]
        for queue, packet in zip(under.queues, packets, strict=True):
            queue.port.write(packet)
        assert network.received() == packets
        await run.turns()
        assert [queue.come() for queue in under.queues] == [[], []]
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_theOtherPortReceivesAllFlowsOfAStoppedOne(run: Run, mode: int) -> None:
    with opened(run, mode) as under:
        for index in range(2):
            stopped = under.queues[index]
            await stopped.port.stopListening()
            shares = await under.shares()
            assert (shares[index], shares[1 - index]) == ([], list(FLOWS))
            assert stopped.recorder.events[-1] == "stop"
            stopped.port.startListening()
            assert all(await under.shares())
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_aDeletedLinkEndsEveryPort(run: Run, mode: int) -> None:
    with opened(run, mode) as under:
        losses = [queue.port.whenLost() for queue in under.queues]
        delete(f"tt{mode}")
        for lost in losses:
            assert await outcome(lost) is InterfaceLost
        assert [queue.recorder.events for queue in under.queues] == [["start", "stop"]] * 2
    run.log.clear()
    await stop(under.queues)


@onEachReactor
async def test_kernelSocketsAreAnsweredByAllPorts(run: Run) -> None:
    echoes = [DatagramRecorder(), DatagramRecorder()]
    ports = []
    for echo in echoes:
        echo.then = echo.write
        udp = RawUDPProtocol()
        udp.addProto(7, echo)
        ports.append(TuntapPort("tt0", udp, reactor=run.reactor, device=LinuxDevice("tt0", TUN, multiQueue=True)))
        ports[-1].startListening()
    setUp("tt0", "10.9.0.1/24", "fd09::1/64")
    with ExitStack() as stack:
        clients = []
        for family, address in ((socket.AF_INET, "10.9.0.2"), (socket.AF_INET6, "fd09::2")):
            for _ in range(32):
                clients.append(stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)))
                clients[-1].connect((address, 7))
        for turn in range(1, 3):
            for index, client in enumerate(clients):
                client.send(b"hello %d" % index)
            for index, client in enumerate(clients):
                await run.until(lambda client=client: select.select([client], [], [], 0)[0], "an answer")  # type: ignore[misc]
                assert client.recv(100) == b"hello %d" % index
            counts = [len(echo.received) for echo in echoes]
            assert all(counts)
            assert sum(counts) == turn * len(clients)
    for port in ports:
        await port.stopListening()


class Neighbour:
    """
    Another process, with a port on the same device. Use it as a context manager.
    """

    def __init__(self, run: Run, mode: int) -> None:
        self._run = run
        self._mode = mode

    def __enter__(self) -> Neighbour:
        self._output = tempfile.NamedTemporaryFile()
        command = [sys.executable, "-m", "tests.real.test_queues", f"tt{self._mode}", str(self._mode)]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=self._output)
        return self

    def __exit__(self, *ignored: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._output.close()

    def come(self) -> list[int]:
        """
        Return the flows of the packets that the process has received.
        """
        return [int(line) for line in self._lines() if line.isdigit()]

    async def said(self, word: str) -> None:
        """
        Wait until the process has printed a word.
        """
        await self._run.until(lambda: word in self._lines() or self.process.poll() is not None, word)
        assert word in self._lines()

    def _lines(self) -> list[str]:
        # The last line may be incomplete.
        return Path(self._output.name).read_text().split("\n")[:-1]


@onEachReactor
@onBothKinds
async def test_portsOfTwoProcessesShareADevice(run: Run, mode: int) -> None:
    with opened(run, mode, 1) as under:
        (own,) = under.queues
        for end in "terminate", "kill":
            with Neighbour(run, mode) as other:
                await other.said("open")
                own.recorder.packets.clear()
                under.send(FLOWS)
                await run.until(lambda other=other: len(own.come() + other.come()) >= len(FLOWS), "packets")  # type: ignore[misc]
                await run.turns()
                assert sorted(own.come() + other.come()) == list(FLOWS)
                assert own.come()
                assert other.come()
                # A flow moves to the port that answers it, even from a port of another process.
                flow = other.come()[0]
                own.port.write(packetOf(flow, mode, answer=True))
                assert await under.shares([flow]) == [[flow]]
                getattr(other.process, end)()
                other.process.wait(PATIENCE)
            assert await under.shares() == [list(FLOWS)]
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_theCarrierIsSetAndReported(run: Run, mode: int) -> None:
    name = f"tt{mode}"
    monitor = InterfaceMonitor(run.reactor)
    told: list[InterfaceEvent] = []
    monitor.subscribe(told.append)
    # The carrier belongs to the device, so each of two queues can set it.
    with opened(run, mode) as under:
        await monitor.start()
        devices = [queue.port.device for queue in under.queues]
        for index, (carrier, kind) in enumerate(((False, events.NO_CARRIER), (True, events.CARRIER)) * 2):
            device = devices[index // 2]
            assert isinstance(device, LinuxDevice)
            device.setCarrier(carrier)
            await run.until(lambda kind=kind: kind in [event.kind for event in told], kind)  # type: ignore[misc]
            assert [(event.name, event.state.carrier, event.state.up) for event in told if event.kind == kind] == [
                (name, carrier, True)
            ]
            link = show(name)
            assert ("NO-CARRIER" in link["flags"], "LOWER_UP" in link["flags"]) == (not carrier, carrier)
            assert (link["operstate"] == "DOWN") == (not carrier)
            assert readInterface(name).carrier == carrier
            told.clear()
            if carrier:
                await under.shares()
            else:
                # Without a carrier, the device drops all packets.
                under.send(FLOWS)
        monitor.stop()
    await stop(under.queues)


@onEachReactor
@onBothKinds
async def test_theSendBufferBelongsToTheDevice(run: Run, mode: int) -> None:
    with opened(run, mode) as under, PacketSocket(f"tt{mode}", mode) as network:
        devices = []
        for queue in under.queues:
            assert isinstance(queue.port.device, LinuxDevice)
            devices.append(queue.port.device)
        for octets in 100_000, 3000, 2**31 - 1:
            devices[0].setSendBuffer(octets)
            for queue, device in zip(under.queues, devices, strict=True):
                assert struct.unpack("i", fcntl.ioctl(device.fileno(), _GET_SEND_BUFFER, bytes(4))) == (octets,)
                queue.port.write(packetOf(1, mode, answer=True))
                assert network.received() == [packetOf(1, mode, answer=True)]
        with pytest.raises(OSError, match="Invalid argument"):
            devices[0].setSendBuffer(0)
    await stop(under.queues)


def main(name: str, mode: int) -> None:
    """
    Print the flows of the packets that a port on the device receives, until this process is told to end.
    """
    from twisted.internet import reactor

    teller = Recorder(then=lambda packet: print(flowOf(packet), flush=True))
    device = LinuxDevice(name, mode, multiQueue=True)
    TuntapPort(name, forPort(teller, mode), reactor=reactor, device=device).startListening()
    print("open", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
