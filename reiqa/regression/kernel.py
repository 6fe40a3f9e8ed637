"""The radial basis function kernel between rows of standardised features."""

from dataclasses import replace

import numpy as np

from reiqa.regression.ridge_path import ScaledRows
from reiqa.regression.scaler import Matrix, row_blocks


def rbf_kernel(first: ScaledRows, second: ScaledRows, gamma: float) -> Matrix:
    """Return ``exp(-gamma |x - y|²)`` of each pair of rows, ``(rows, rows of second)``."""
    kernel = first.inner_products(second)
    kernel *= -2
    kernel += first.squared_norms()[:, None]
    kernel += second.squared_norms()
    # Rounding may leave a tiny negative distance between equal rows.
    np.maximum(kernel, 0, out=kernel)
    kernel *= -gamma
    np.exp(kernel, out=kernel)
    return kernel


def kernel_sums(
    rows: ScaledRows, support: ScaledRows, gamma: float, coefficients: Matrix
) -> Matrix:
    """Return the sums of kernels weighted by ``coefficients``, without the full kernel matrix.

    Args:
        rows: rows to evaluate.
        support: S support vectors, scaled like ``rows``.
        gamma: width of the kernel.
        coefficients: ``(S, P)``.

    Returns:
        ``(rows, P)``.
    """
    sums = np.empty((len(rows.rows), coefficients.shape[1]))
    for block in row_blocks(len(rows.rows), len(support.rows)):
        part = replace(rows, rows=rows.rows[block])
        sums[block] = rbf_kernel(part, support, gamma) @ coefficients
    return sums
