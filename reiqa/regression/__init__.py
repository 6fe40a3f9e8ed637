"""Fit regressors from features to ratings and evaluate them on held-out images."""
