"""Datasets: download, unpack, check and index their images."""
