"""The model engineer's side, on a workstation: from a published graph to a quantized, measured model folder.

Nothing on a device imports this folder, and its heavy libraries (the `workshop` extra) are imported only inside the
functions that use them.
"""
