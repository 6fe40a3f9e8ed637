"""Every reader takes a mutated file or refuses it in one line, and nothing else happens.

Each example is a valid file changed in a few places. ``pytest --hypothesis-profile=long`` tries
many more.
"""

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.readers import Reader, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reiqa.errors import BadInputError, WorkFailedError

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(600)]

settings.register_profile("long", max_examples=20_000)
#: Bytes of memory that a reader may take.
_MEMORY = 8 * 2**30

_TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""',
    b"\n", b"\r", b",", b'"', b"#", b": ", b"\x00", b"\xff\xfe", b"../", b"&a", b"*a", b"!!python/",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", "é".encode(), "\u2028".encode(),
)  # fmt: skip

Edit = Callable[[bytes, int, int], bytes]


def _replace(token: bytes) -> Edit:
    return lambda data, at, length: data[:at] + token + data[at + length :]


def _flip(bit: int) -> Edit:
    return lambda data, at, _: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def _repeat(count: int) -> Edit:
    return lambda data, at, length: data[:at] + data[at : at + length] * count + data[at + length :]


def _truncate(data: bytes, at: int, _: int) -> bytes:
    return data[:at]


_EDITS = st.one_of(
    st.integers(0, 7).map(_flip),
    st.binary(min_size=1, max_size=1).map(_replace),
    st.sampled_from(_TOKENS).map(_replace),
    st.just(_replace(b"")),
    st.integers(2, 20).map(_repeat),
    st.just(_truncate),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw a valid file that is changed in one to four places."""
    data = draw(st.sampled_from(seeds))
    for edit in draw(st.lists(_EDITS, min_size=1, max_size=4)):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        data = edit(data, at, draw(st.sampled_from((1, 2, 4, 16, 64))))
    return data


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Bounds the memory: what takes more fails with MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def check(reader: Reader, data: bytes, folder: Path) -> None:
    """Read mutated content, which may be refused by a documented error of one line."""
    path = folder / f"input{reader.suffix}"
    path.write_bytes(reader.rebuilt(data) if reader.rebuilt else data)
    try:
        reader.read(path)
    except (BadInputError, WorkFailedError) as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("reader", list(readers()), ids=lambda reader: reader.name)
def test_a_mutated_file_is_read_or_refused_in_one_line(reader: Reader, tmp_path: Path) -> None:
    slow = reader.name.startswith("HDF5")  # each starts a process
    count = settings.get_profile(settings._current_profile).max_examples

    @settings(
        max_examples=max(3, count // 50) if slow else count,
        deadline=20_000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(reader.seeds))
    def run(data: bytes) -> None:
        check(reader, data, tmp_path)

    run()


def test_a_reader_that_raises_another_error_fails_the_test(tmp_path: Path) -> None:
    def read(_: Path) -> None:
        raise KeyError("score")

    with pytest.raises(KeyError):
        check(Reader("a reader", ".txt", (b"valid",), read), b"valid", tmp_path)


def test_an_error_of_two_lines_fails_the_test(tmp_path: Path) -> None:
    def read(_: Path) -> None:
        raise BadInputError("one line\nand another")

    with pytest.raises(AssertionError):
        check(Reader("a reader", ".txt", (b"valid",), read), b"valid", tmp_path)
