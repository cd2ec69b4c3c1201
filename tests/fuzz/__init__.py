"""
Coverage-guided fuzzing of all input from the network: C{make fuzz}.
"""
