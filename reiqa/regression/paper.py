"""The published results, shown next to our own in every table.

SRCC and PLCC of "Re-IQA" (CVPR 2023) from the authors' slides. Values missing there are from
independent reprints of the paper's Table 2, which agree with each other.
"""

from typing import NamedTuple

from reiqa.params import Variant


class PaperResult(NamedTuple):
    """Published results of one dataset and variant; None for a value that is not published."""

    srcc: float
    plcc: float | None


#: Results by dataset and variant. The quality expert alone is published for two datasets only.
WITHIN: dict[tuple[str, Variant], PaperResult] = {
    ("koniq10k", "both"): PaperResult(0.914, 0.923),
    ("clive", "both"): PaperResult(0.840, 0.854),
    ("flive", "both"): PaperResult(0.645, 0.733),
    ("spaq", "both"): PaperResult(0.918, 0.925),
    ("live", "both"): PaperResult(0.970, 0.971),
    ("live", "quality"): PaperResult(0.971, None),
    ("csiq", "both"): PaperResult(0.947, 0.960),
    ("csiq", "quality"): PaperResult(0.944, None),
    ("tid2013", "both"): PaperResult(0.804, 0.861),
    ("kadid10k", "both"): PaperResult(0.872, 0.885),
}

#: SRCC of both experts, by (training dataset, test dataset).
ACROSS: dict[tuple[str, str], float] = {
    ("clive", "koniq10k"): 0.769,
    ("koniq10k", "clive"): 0.791,
    ("live", "csiq"): 0.808,
    ("csiq", "live"): 0.929,
}
