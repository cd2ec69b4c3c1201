"""
The random source of the operating system, for values that nobody may predict.
"""

from random import SystemRandom

#: One object for the whole process. It has no state, but takes 2.5 KB.
SYSTEM_RANDOM = SystemRandom()
