"""The radial basis function kernel between rows of standardised features."""

from dataclasses import replace

import numpy as np

from reiqa.regression.ridge_path import ScaledRows
from reiqa.regression.scaler import Matrix, Vector, row_blocks


def rbf_kernel(first: ScaledRows, second: ScaledRows, gamma: float) -> Matrix:
    """Return ``exp(-gamma |x - y|²)`` of each pair of rows, ``(rows, rows of second)``."""
    norms = first.squared_norms(), second.squared_norms()
    return rbf_from_products(first.inner_products(second), *norms, gamma)


def rbf_from_products(products: Matrix, first: Vector, second: Vector, gamma: float) -> Matrix:
    """Return the kernel of pairs of rows from their inner products, which are overwritten.

    Args:
        products: ``(N, M)`` inner products.
        first: ``(N,)`` squared norms.
        second: ``(M,)`` squared norms.
        gamma: width of the kernel.
    """
    products *= -2
    products += first[:, None]
    products += second
    # Rounding may leave a tiny negative distance between equal rows.
    np.maximum(products, 0, out=products)
    products *= -gamma
    np.exp(products, out=products)
    return products


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
