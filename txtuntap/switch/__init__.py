"""
A learning Ethernet switch between interfaces, hosts and tunnels.
"""

from txtuntap.switch.switch import Switch

__all__ = ["Switch"]
