"""Chunks: the training samples of the quality expert, cut from photographs.

A chunk is one pair of overlapping crops in n_aug + 1 versions: undistorted, and once for each of
n_aug distortion types. `recipe` draws the random parameters, `render` renders the crops, `shards`
stores the windows.
"""
