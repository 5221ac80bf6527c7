"""`edgeapp aim`: the live picture for who mounts the camera. Besides the service, and no part of it.

The one place where pixels and a network meet, for some minutes, because a person asked for it and typed a code
(docs/aim.md, docs/decisions/0024). Even here they meet in two processes: `eyes.py` has the camera and the model and
leaves the network; the command's own process has the network, and passes on JPEGs that it cannot read. Only `cli.py`
imports this package; `lint-imports` holds that.
"""
