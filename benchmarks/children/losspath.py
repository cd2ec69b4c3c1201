"""
The process of L{benchmarks.loss} that measures one transfer over a path. Each end of the path is a host, or a kernel in
a network namespace of its own.

    python -m benchmarks.children.losspath SERVER CLIENT PATH SEED MEASURE

SERVER and CLIENT are C{host} or C{linux}, PATH an index of L{PATHS<benchmarks.transfers.PATHS>}, MEASURE C{bulk} or
C{fetches}. The process prints the octets per second. A path between two hosts runs in virtual time, any other path in
real time.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from twisted.internet import selectreactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react
from twisted.python.failure import Failure

from benchmarks.receive import ROOT
from benchmarks.transfers import PATHS, Path, measured, serve
from txtuntap import Host
from txtuntap.device.settings import InterfaceSettings
from txtuntap.middleware import Netem
from txtuntap.network import Network

#: The addresses of server and client.
ADDRESSES = "10.9.0.1", "10.9.0.2"

#: The seconds that are added to the round-trip time of a path in virtual time. A path in real time needs no addition:
#: there, the work of this process delays the packets by about as much.
ADDED = 0.0002


class _Peer(ProcessProtocol):
    """
    The process with a kernel's end of the path. Each line of its output is an answer.
    """

    transport: Any

    def __init__(self) -> None:
        self._lines: DeferredQueue[str] = DeferredQueue()
        self._text = ""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        *lines, self._text = (self._text + data.decode()).split("\n")
        for line in lines:
            self._lines.put(line)

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)

    def line(self) -> Deferred[str]:
        """
        Wait for the next answer of the process.
        """
        return self._lines.get()

    def ask(self, *words: object) -> Deferred[str]:
        """
        Send a command to the process, and wait for the answer.
        """
        self.transport.write(f"{' '.join(map(str, words))}\n".encode())
        return self.line()


async def end(reactor: Any, network: Network, switch: Any, kind: str, address: str) -> tuple[Any, Any]:
    """
    Make one end of the path.

    @param kind: C{host} or C{linux}.

    @return: the host or the process, and the argument for L{Network.impairment}.
    """
    nothing = Netem()
    if kind == "host":
        host = network.host(f"{address}/24", switch, up=nothing, down=nothing)
        serve(host)
        return host, host
    peer = _Peer()
    command = ["unshare", "--net", sys.executable, "-m", "benchmarks.children.losspeer"]
    reactor.spawnProcess(peer, command[0], command, dict(os.environ), str(ROOT), childFDs={0: "w", 1: "r", 2: 2})
    await peer.line()
    settings = InterfaceSettings(addresses=[f"{address}/24"])
    namespace = f"/proc/{peer.transport.pid}/ns/net"
    return peer, network.tap(
        f"tap{address[-1]}", switch, up=nothing, down=nothing, namespace=namespace, settings=settings
    )


def impair(network: Network, known: Any, path: Path, added: float = 0.0) -> None:
    """
    Set the impairment of one end of the path.

    @param known: a host, or the port of a kernel's interface.
    @param added: seconds that are added to the round-trip time.
    """
    impairment = network.impairment(known)
    if isinstance(known, Host):
        impairment.down, impairment.up = path.sendingSide, path.receivingSide(added)
    else:
        # The kernel's outgoing packets are incoming for the network, so the directions are swapped.
        impairment.up, impairment.down = path.sendingSide, path.receivingSide(added)


def simulated(path: Path, seed: int, measure: str) -> float:
    """
    Measure a transfer between two hosts, in virtual time.

    @return: the octets per second.
    """
    network = Network(seed)
    switch = network.switch()
    nothing = Netem()
    server, client = (network.host(f"{each}/24", switch, up=nothing, down=nothing) for each in ADDRESSES)
    serve(server)
    with network:
        network.result(client.ping(ADDRESSES[0]))
        for host in server, client:
            impair(network, host, path, ADDED)
        return network.result(measured(measure, client, ADDRESSES[0], network.clock))


async def real(reactor: Any, server: str, client: str, path: Path, seed: int, measure: str) -> None:
    """
    Measure a transfer in real time, and print the octets per second.
    """
    network = Network(seed, reactor)
    switch = network.switch()
    kinds = server, client
    ends = [await end(reactor, network, switch, *each) for each in zip(kinds, ADDRESSES, strict=True)]
    network.start()
    address = ADDRESSES[0]
    asking = ends[1][0]
    # Both ends resolve their link addresses before the path loses packets.
    await (asking.ping(address) if client == "host" else asking.ask("warm", address))
    for _, known in ends:
        impair(network, known, path)
    if client == "host":
        print(await measured(measure, asking, address, reactor))
    else:
        print(await asking.ask(measure, address))
    for peer, _ in ends:
        if isinstance(peer, _Peer):
            peer.transport.signalProcess("KILL")
            await peer.ended
    await network.stop()


def main() -> None:
    """
    Run the measurement that the command line describes.
    """
    server, client, index, seed, measure = sys.argv[1:]
    path = PATHS[int(index)]
    if server == client == "host":
        # Virtual time is independent of this process's speed, so leave the CPU to the measurements in real time.
        os.nice(10)
        print(simulated(path, int(seed), measure))
        return
    # The timers of select are exact to microseconds, those of epoll to milliseconds.
    selectreactor.install()
    with suppress(OSError):
        # Without real-time priority, other programs of this machine would delay packets.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    react(lambda reactor: Deferred.fromCoroutine(real(reactor, server, client, path, int(seed), measure)))


if __name__ == "__main__":
    main()
