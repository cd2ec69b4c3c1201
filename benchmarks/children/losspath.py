"""
One measurement of L{benchmarks.loss}: a path whose ends are hosts, or kernels in network namespaces.

    python -m benchmarks.children.losspath SERVER CLIENT PATH SEED MEASURE

SERVER and CLIENT are C{host} or C{linux}, PATH an index of L{PATHS<benchmarks.transfers.PATHS>}, MEASURE C{bulk} or
C{fetches}. The octets in a second go to standard output. Between two hosts, all of it is in virtual time.
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

#: Seconds that packets take beside in real time, there and back. The simulated path takes as long.
ADDED = 0.0002


class _Peer(ProcessProtocol):
    """
    A kernel's end: answers come as lines.
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
        Wait for the next answer.
        """
        return self._lines.get()

    def ask(self, *words: object) -> Deferred[str]:
        """
        Have the peer do something.
        """
        self.transport.write(f"{' '.join(map(str, words))}\n".encode())
        return self.line()


async def end(reactor: Any, network: Network, switch: Any, kind: str, address: str) -> tuple[Any, Any]:
    """
    Make one end of the path.

    @return: the host or peer, and what L{Network.impairment} knows it by.
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
    Have an end of the path be as bad as that is.

    @param known: a host, or the port of a kernel's interface.
    """
    impairment = network.impairment(known)
    if isinstance(known, Host):
        impairment.down, impairment.up = path.leaving, path.travelling(added)
    else:
        # Packets that leave the interface come up.
        impairment.up, impairment.down = path.leaving, path.travelling(added)


def simulated(path: Path, seed: int, measure: str) -> float:
    """
    Measure between two hosts, in virtual time.
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
    Measure in real time, and print what was measured.
    """
    network = Network(seed, reactor)
    switch = network.switch()
    kinds = server, client
    ends = [await end(reactor, network, switch, *each) for each in zip(kinds, ADDRESSES, strict=True)]
    network.start()
    address = ADDRESSES[0]
    asking = ends[1][0]
    # Both learn each other's link addresses before packets are lost.
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
    Measure what was asked for.
    """
    server, client, index, seed, measure = sys.argv[1:]
    path = PATHS[int(index)]
    if server == client == "host":
        # Virtual time waits.
        os.nice(10)
        print(simulated(path, int(seed), measure))
        return
    # Its timers are exact to microseconds, not milliseconds.
    selectreactor.install()
    with suppress(OSError):
        # Other programs of this machine would delay packets.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    react(lambda reactor: Deferred.fromCoroutine(real(reactor, server, client, path, int(seed), measure)))


if __name__ == "__main__":
    main()
