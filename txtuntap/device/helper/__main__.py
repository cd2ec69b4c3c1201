"""
The command C{python -m txtuntap.device.helper}, which runs the helper.
"""

from txtuntap.device.helper.server import main

if __name__ == "__main__":
    main()
