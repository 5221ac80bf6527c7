"""From a frame to predictions: capture, masks, motion gate, preprocessing, TFLite with its delegate, decoding.

Imports nothing: control uses `protocol` and `client` of this folder and must load neither OpenCV nor the runtime.
"""
