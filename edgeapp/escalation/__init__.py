"""A second opinion of a larger model elsewhere on what the small one is unsure of: off by default, bounded, consented.

`policy.py` says which tracks and when, `watch.py` follows them, `answer.py` judges what comes back, `consent.py` says
whether the site allows it at all; `client.py` is the only part with a network.
"""
