"""
The paths of the files that the tests read and run outside of the package.
"""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
EXAMPLES = CHECKOUT / "examples"
