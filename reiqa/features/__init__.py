"""Extract features of images with the frozen experts and cache them as HDF5."""
