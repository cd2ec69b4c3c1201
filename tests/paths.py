"""
The places of what the tests read and run beside the package.
"""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
EXAMPLES = CHECKOUT / "examples"
