"""
Run the C{txtuntap} command, as C{python -m txtuntap.command}.
"""

import sys

from txtuntap.command import main

if __name__ == "__main__":
    sys.exit(main())
