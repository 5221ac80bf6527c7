"""What a technician asks of a fresh device: is everything there, does it fit together, and if not, what to do.

`checks.py` touches the machine, with `broker_checks.py`, `certificates.py` and `access.py`, and has the table of all
checks; `judge_*.py` and `report.py` decide and word, purely; `examine.py` runs the checks one after the other, bounded
and isolated; `child.py` is a process of its own for native code, which may crash or hang. Only that child sees pixels,
and it writes none.
"""
