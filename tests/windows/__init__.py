"""
The tests on Windows: CPython for Windows, run by Wine.
"""
