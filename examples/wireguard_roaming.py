"""
Keep a TCP connection through WireGuard while a phone changes its address, in a simulated network.

    $ python examples/wireguard_roaming.py
    the phone is at 192.0.2.2:51820
    the server has 'at home' from 10.9.0.2
    the phone is at 192.0.2.99:51820
    the server has 'on the train' from 10.9.0.2
    1 connection, 1 handshake

The server knows the public key of the phone, and no address. It learns the address from the phone's first authentic
message, and a new one from the first message that comes from there. The connection is between the addresses inside,
which stay. Messages of a stranger change nothing, because they are not authentic.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from txtuntap.network import Network
from txtuntap.wireguard import PrivateKey, WireGuard

SERVER, PHONE = (PrivateKey.generate(Random(number)) for number in (1, 2))


class Listener(Protocol):
    """
    Prints what it receives, and from whom.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        print(f"the server has {data.decode()!r} from {self.transport.getPeer().host}")


def main() -> None:
    """
    Send two lines on one connection, from two places.
    """
    net = Network(seed=1)
    switch = net.switch()
    home, phone = net.host("192.0.2.1/24", switch), net.host("192.0.2.2/24", switch)

    server = WireGuard(SERVER, 51820, net.clock, outside=home)
    server.addPeer(PHONE.public, ["10.9.0.2"])
    server.endpointChanged = lambda peer: print(f"the phone is at {peer.endpoint}")
    serving = net.host("10.9.0.1/24")
    net.link(server, serving.ip, mtu=1420)

    client = WireGuard(PHONE, 51820, net.clock, outside=phone)
    # The keepalive tells the server each new address, even if the phone has nothing to send.
    client.addPeer(SERVER.public, ["10.9.0.1"], "192.0.2.1:51820", keepalive=25)
    asking = net.host("10.9.0.2/24")
    net.link(client, asking.ip, mtu=1420)

    serving.listenTCP(80, Factory.forProtocol(Listener))
    with net:
        connecting = connectProtocol(TCP4ClientEndpoint(asking, "10.9.0.1", 80), Protocol())
        transport: Any = net.result(connecting).transport
        transport.write(b"at home")
        net.run(5)
        phone.removeAddress("192.0.2.2")
        phone.addAddress("192.0.2.99/24")
        transport.write(b"on the train")
        net.run(60)
        print(f"{serving.counters['tcp']['passiveOpens']} connection, {client.counters['inResponses']} handshake")


if __name__ == "__main__":
    main()
