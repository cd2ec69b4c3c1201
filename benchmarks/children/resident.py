"""
The memory of a process that a benchmark fills with hosts, flows or connections.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path


def resident() -> int:
    """
    The resident memory of this process after a garbage collection, in octets.
    """
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
