"""
A simulated network: hosts and switches, joined by links, on a simulated clock.
"""

from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.network.network import Network
from txtuntap.network.replay import Replay

__all__ = ["Link", "Network", "Replay", "SimulationClock"]
