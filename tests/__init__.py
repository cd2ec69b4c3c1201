"""
The tests mirror the package; C{real} holds those that need the kernel.
"""

from hypothesis import settings

# How long an example takes is nothing that a test should depend on.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
