"""
A program with a host on a device of Windows, on a reactor of Windows. Another host, on a device in memory, is the
network behind it: it sends pings and datagrams, and expects the answers.

The device is over a fake. Under Wine, that is a library or a driver in C; elsewhere, it is in Python::

    python -m tests.device.windows.answers REACTOR KIND
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import DatagramProtocol

from tests.device.windows.fakes import FakeTap, FakeWindows
from txtuntap import Host, InterfaceLost, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.windows.tap import TapDevice
from txtuntap.device.windows.wintun import WintunDevice
from txtuntap.testing import MemoryDevice
from txtuntap.udp.echo import Echo

#: The module of each reactor.
REACTORS = {
    "select": "selectreactor",
    "poll": "pollreactor",
    "iocp": "iocpreactor.reactor",
    "win32": "win32eventreactor",
}

#: The number of pings, the number of datagrams, and the number of these that are under way at once. The driver of a tap
#: queues 64 packets.
PINGS, DATAGRAMS, AT_ONCE = 20, 200, 50

PORT = 7007

#: The seconds for an answer. No test passes because this time is over.
PATIENCE = 20.0


@attrs.frozen
class Fake:
    """
    A device over a fake, and the network's side of the fake.

    @ivar device: the device, not open yet.
    @ivar deliver: sends a packet from the network.
    @ivar taken: returns the packets that the device has sent since the last call.
    @ivar remove: deletes the adapter under the device.
    """

    device: Any
    deliver: Callable[[bytes], None]
    taken: Callable[[], list[bytes]]
    remove: Callable[[], None]

    @classmethod
    def of(cls, network: Any, device: Any, name: str) -> Fake:
        """
        Make the record of an adapter of a fake.
        """
        return cls(
            device,
            lambda data: network.deliver(name, data),
            lambda: network.taken(name),
            lambda: network.remove(name),
        )


def wintun() -> Fake:
    """
    Make a device of Wintun.
    """
    network: Any
    if sys.platform == "win32":
        from tests.device.windows.test_wintunlibrary import FAKE, CFake

        network = CFake()
        device = WintunDevice("answers", library=FAKE)
    else:
        system = FakeWindows()
        network = system.library
        device = WintunDevice("answers", system=system)
    return Fake.of(network, device, "answers")


def tap(mode: int = TAP, address: str | None = None) -> Fake:
    """
    Make a device of tap-windows6.
    """
    network: Any
    system: Any = None
    if sys.platform == "win32":
        from tests.device.windows.test_tapdriver import CDriver, addAdapter, startDriver

        startDriver()
        addAdapter(0)
        network = CDriver()
        network.reset()
    else:
        system = FakeWindows()
        network = system.kernel
        network.taps.append(FakeTap("tt0", 0))
    device = TapDevice("tt0", mode, address, system)
    return Fake.of(network, device, "tt0")


KINDS: dict[str, Callable[[], Fake]] = {"wintun": wintun, "tap": tap, "tun of a tap": lambda: tap(TUN, "10.0.0.1/24")}


class Counting(DatagramProtocol):
    """
    Sends datagrams, and counts their echoes.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.echoes: set[bytes] = set()
        self.all: Deferred[None] = Deferred()

    def startProtocol(self) -> None:
        for _ in range(AT_ONCE):
            self.send()

    def send(self) -> None:
        """
        Send the next datagram.
        """
        transport: Any = self.transport
        transport.write(b"%04d" % self.sent + bytes(996), ("10.0.0.2", PORT))
        self.sent += 1

    def datagramReceived(self, data: bytes, address: object) -> None:
        self.echoes.add(data)
        if self.sent < DATAGRAMS:
            self.send()
        elif len(self.echoes) == DATAGRAMS:
            self.all.callback(None)


@inlineCallbacks
def answers(reactor: Any, kind: str) -> Any:
    """
    Have a host answer pings and datagrams. Then delete its interface.
    """
    fake = KINDS[kind]()
    host, peer = Host(["10.0.0.2/24"], reactor), Host(["10.0.0.1/24"], reactor)
    memory = MemoryDevice(fake.device.mode)
    memory.network = fake.deliver
    layers = [each.ethernet if memory.mode == TAP else each.ip for each in (host, peer)]
    port = TuntapPort("", layers[0], reactor=reactor, device=fake.device)
    other = TuntapPort("", layers[1], reactor=reactor, device=memory)
    port.startListening()
    other.startListening()
    host.listenUDP(PORT, Echo())

    def carry() -> None:
        if other.connected:
            for packet in fake.taken():
                memory.deliver(packet)
            reactor.callLater(0.002, carry)

    carry()
    pings = 0
    for _ in range(PINGS):
        yield peer.ping("10.0.0.2", timeout=PATIENCE)
        pings += 1
    client = Counting()
    peer.listenUDP(0, client)
    yield client.all.addTimeout(PATIENCE, reactor)
    print(f"{pings} pings, {len(client.echoes)} echoes, {port.counters['inPackets']} packets", flush=True)
    yield other.stopListening()
    yield port.stopListening()
    print(f"{fake.device!r}, {[each.name for each in threading.enumerate() if 'txtuntap' in each.name]}", flush=True)
    port.startListening()
    fake.remove()
    try:
        yield port.whenLost().addTimeout(PATIENCE, reactor)
    except InterfaceLost as e:
        print(f"{e}; {fake.device!r}", flush=True)


def main(name: str, kind: str) -> None:
    """
    Run the program on a reactor.
    """
    import_module(f"twisted.internet.{REACTORS[name]}").install()
    from twisted.internet.task import react

    react(answers, (kind,))


if __name__ == "__main__":
    main(*sys.argv[1:])
