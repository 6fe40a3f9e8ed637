"""``reiqa doctor``: environment check and lineage check."""
