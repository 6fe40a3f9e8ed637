"""From a dataset's name to a checked table of its images."""
