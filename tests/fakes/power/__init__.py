"""Power cuts, kills and failing disks for the store of updates, and stores that are to be caught.

`story.py` is the work that is interrupted, with `judge` for what must hold afterwards; `crash_states.py` rebuilds what
a cut could leave, `real_cuts.py` cuts, `kill_points.py` kills; `broken_stores.py` is what each rig must catch.
"""
