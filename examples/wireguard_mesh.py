"""
Join three programs in a WireGuard mesh, in a simulated network, without a kernel device and without privilege.

    $ python examples/wireguard_mesh.py
    10.9.0.1 pings 10.9.0.2, by 192.0.2.2:51820
    10.9.0.1 pings 10.9.0.3, by 192.0.2.3:51820
    10.9.0.2 pings 10.9.0.3, by 192.0.2.3:51820
    3 handshakes, 0 packets from forbidden addresses

Each program has a host outside, at 192.0.2.x, whose UDP carries the messages. Its host inside, at 10.9.0.x, is behind
WireGuard. Each peer may send from its own address only. With the reactor in place of the network's clock and host, the
same lines join programs on three machines.
"""

from __future__ import annotations

from itertools import combinations
from random import Random

from txtuntap import Host
from txtuntap.network import Network
from txtuntap.switch import Switch
from txtuntap.wireguard import PrivateKey, WireGuard

NUMBERS = 1, 2, 3

#: The private keys. Without a source of random numbers, C{generate} asks the system for a key that nobody can guess.
KEYS = {number: PrivateKey.generate(Random(number)) for number in NUMBERS}


def join(net: Network, switch: Switch, number: int) -> tuple[WireGuard, Host]:
    """
    Make one member of the mesh.

    @return: its WireGuard, and its host inside.
    """
    outside = net.host(f"192.0.2.{number}/24", switch)
    inside = net.host(f"10.9.0.{number}/24")
    wireguard = WireGuard(KEYS[number], 51820, net.clock, outside=outside)
    for other in NUMBERS:
        if other != number:
            wireguard.addPeer(KEYS[other].public, [f"10.9.0.{other}"], f"192.0.2.{other}:51820")
    net.link(wireguard, inside.ip, mtu=1420)
    return wireguard, inside


def main() -> None:
    """
    Have each pair of members exchange a ping.
    """
    net = Network(seed=1)
    switch = net.switch()
    members = {number: join(net, switch, number) for number in NUMBERS}
    with net:
        for one, other in combinations(NUMBERS, 2):
            wireguard, inside = members[one]
            pong = net.result(inside.ping(f"10.9.0.{other}"))
            peer = wireguard.peerOf(pong.source)
            assert peer is not None
            print(f"10.9.0.{one} pings {pong.source}, by {peer.endpoint}")
        counters = [wireguard.counters for wireguard, _ in members.values()]
        handshakes = sum(each["inResponses"] for each in counters)
        forbidden = sum(each["inForbidden"] for each in counters)
        print(f"{handshakes} handshakes, {forbidden} packets from forbidden addresses")


if __name__ == "__main__":
    main()
