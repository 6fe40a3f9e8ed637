"""What is on disk: atomic writes, the provenance of each artifact, and whether it is stale.

Every artifact ``X`` has a sidecar ``X.prov.json`` that says which stage made it, from which
parameters, from which inputs (by digest), with which command and revision. The sidecar travels
with the artifact, so staleness is decided by content alone: no modification time, no record of an
engine is needed. It is written after the artifact and names its digest: an artifact without a
matching sidecar is never read as whole.

`files` holds what every write goes through, `provenance` the sidecars, `making` what is stale.
"""

from reiqa.store.files import (
    DISK_FULL_ERRORS,
    WORK,
    atomic,
    check_target,
    file_digest,
    locked,
    read_json,
    remove_partials,
    write_json,
    write_text,
)
from reiqa.store.provenance import (
    Provenance,
    add_checksum,
    find_corruption,
    input_digests,
    read_provenance,
    revision,
    sidecar,
    sign_sidecar,
    verified_digest,
    verify_checksum,
)
from reiqa.store.staleness import Freshness, make_artifact, write_stamp

__all__ = [
    "DISK_FULL_ERRORS",
    "WORK",
    "Freshness",
    "Provenance",
    "add_checksum",
    "atomic",
    "check_target",
    "file_digest",
    "find_corruption",
    "input_digests",
    "locked",
    "make_artifact",
    "read_json",
    "read_provenance",
    "remove_partials",
    "revision",
    "sidecar",
    "sign_sidecar",
    "verified_digest",
    "verify_checksum",
    "write_json",
    "write_stamp",
    "write_text",
]
