"""Chunks: what is cut from a photograph for the quality expert to learn from.

A chunk is one pair of overlapping crops in n_aug + 1 versions: undistorted, and once for each of
n_aug distortion types. `recipe` says what to do, `render` does it, `shards` keeps the windows.
"""
