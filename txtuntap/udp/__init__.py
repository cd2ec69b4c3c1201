"""
The User Datagram Protocol: the layer, the transports of the protocols on it, and datagrams that leave together.
"""

from txtuntap.udp.echo import Echo

__all__ = ["Echo"]
