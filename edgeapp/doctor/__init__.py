"""What a technician asks of a fresh device: is everything there, does it fit together, and if not, what to do.

`judge*.py` and `report.py` decide and word, purely; `*checks.py` and `certificates.py` touch the machine; `examine.py`
runs the checks one after the other, bounded and isolated; `child.py` is a process of its own for native code, which may
crash or hang. Only that child sees pixels, and it writes none.
"""
