"""
The User Datagram Protocol: the UDP layer, the transports of the protocols above it, and batches of datagrams that are
sent as one superpacket.

Read RFC 768 first, and RFC 8200 section 8.1 for the checksum over IPv6.
"""

from txtuntap.udp.echo import Echo

__all__ = ["Echo"]
