"""The artifact store: atomic writes, provenance of artifacts, and staleness.

Every artifact ``X`` has a sidecar ``X.prov.json``. It records the stage, the parameters, the
digests of the inputs, the command and the code revision. The sidecar is copied together with the
artifact, so staleness depends on content alone and not on modification times or on the records of
a workflow engine. The sidecar is written after the artifact and contains its digest. An artifact
without a matching sidecar is never treated as complete.

`files` contains atomic writes and locks, `provenance` the sidecars, `staleness` the decision which
artifacts are up to date.
"""

from reiqa.store.files import (
    DISK_FULL_ERRORS,
    WORK,
    atomic,
    check_target,
    file_digest,
    link_target,
    locked,
    read_json,
    remove_partials,
    unwritable,
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
    "link_target",
    "locked",
    "make_artifact",
    "read_json",
    "read_provenance",
    "remove_partials",
    "revision",
    "sidecar",
    "sign_sidecar",
    "unwritable",
    "verified_digest",
    "verify_checksum",
    "write_json",
    "write_stamp",
    "write_text",
]
