"""
WireGuard: many peers behind one interface, each known by its public key.

Read the whitepaper, "WireGuard: Next Generation Kernel Network Tunnel" (Donenfeld, 2017), first.
"""

from txtuntap.wireguard.keys import PrivateKey, keyText
from txtuntap.wireguard.peer import Peer
from txtuntap.wireguard.protocol import WireGuard

__all__ = ["Peer", "PrivateKey", "WireGuard", "keyText"]
