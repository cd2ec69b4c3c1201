"""
Coverage-guided fuzzing of all that comes in from the network: C{make fuzz}.
"""
