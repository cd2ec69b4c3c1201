"""
The tests, in the folders of the package. The folder C{real} holds the tests that need the kernel.
"""

from hypothesis import settings

# Without this, hypothesis fails an example that takes long, which depends on the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
