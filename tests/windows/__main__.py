"""
C{python -m tests.windows ARGUMENTS}: run CPython for Windows under Wine, such as with C{-m pytest -q tests/wire}.
Without arguments, only make its environment.
"""

from __future__ import annotations

import sys

from tests.windows.environment import build, run

build()
if sys.argv[1:]:
    sys.exit(run(*sys.argv[1:]))
