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
from reiqa.store.staleness import Freshness, make_artifact, write_stamp
from reiqa.store.provenance import (
    FORMATS,
    Provenance,
    find_corruption,
    read_provenance,
    input_digests,
    revision,
    sign_sidecar,
    sidecar,
    verified_digest,
    add_checksum,
    verify_checksum,
)

__all__ = [
    "FORMATS",
    "NO_ROOM",
    "WORK",
    "Freshness",
    "Provenance",
    "atomic",
    "check_target",
    "damaged",
    "file_digest",
    "locked",
    "make",
    "read_json",
    "read_provenance",
    "recorded",
    "revision",
    "seal",
    "sidecar",
    "sweep",
    "verified",
    "with_seal",
    "without_seal",
    "write_json",
    "write_stamp",
    "write_text",
]
