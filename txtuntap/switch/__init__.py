"""
A switch between interfaces: it learns which station is on which of its ports.
"""

from txtuntap.switch.switch import Switch

__all__ = ["Switch"]
