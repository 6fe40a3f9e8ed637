"""Each GPU is one process's at a time, whatever becomes of that process."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reiqa import devices
from reiqa.errors import BadInputError
from reiqa.params import ComputeParams

HOLD = """
import sys, time
from reiqa.devices import lease_gpus
with lease_gpus({count}) as gpus:
    print(",".join(gpus), flush=True)
    sys.stdin.readline()
"""


class Holder:
    """A process that leases GPUs and holds them until it is told to end."""

    def __init__(self, count: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(count=count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def leased(self) -> list[str]:
        """Wait until it holds its GPUs, and name them."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip().split(",")

    def says(self) -> str:
        """Wait for a line on its stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def waits(self) -> bool:
        """Say that it is alive and has not printed what it leased (after half a second)."""
        time.sleep(0.5)
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def hold(tmp_path, monkeypatch) -> Iterator[type[Holder]]:
    monkeypatch.setenv("REIQA_LEASES", str(tmp_path))
    monkeypatch.setenv("REIQA_FAKE_GPUS", "0,1")
    made: list[Holder] = []

    def start(count: int = 1) -> Holder:
        made.append(Holder(count))
        return made[-1]

    yield start
    for holder in made:
        holder.kill()


def test_two_processes_lease_two_gpus_and_a_third_waits_until_one_is_killed(hold):
    first, second = hold(), hold()
    held = [first.leased(), second.leased()]
    assert sorted(held) == [["0"], ["1"]]
    third = hold()
    assert "waiting for a free GPU" in third.says() and third.waits()
    first.kill()
    assert third.leased() == held[0]


def test_a_process_that_ends_well_gives_its_gpu_back(hold):
    first, second = hold(), hold()
    gpu = first.leased()
    second.leased()
    first.process.communicate("\n", timeout=20)
    assert hold().leased() == gpu


def test_one_that_wants_both_waits_for_both(hold):
    first = hold()
    first.leased()
    both = hold(2)
    assert "waiting" in both.says() and both.waits()
    first.kill()
    assert sorted(both.leased()) == ["0", "1"]


def test_a_job_on_the_cpu_does_not_queue_behind_those_that_wait_for_a_gpu(hold):
    hold(2).leased()
    assert "waiting" in hold().says()
    with devices.lease_gpus(0) as gpus:
        assert gpus == []


def test_the_processes_of_a_job_lease_together_and_each_has_its_own(hold, tmp_path):
    first = hold()
    first.leased()
    script = tmp_path / "job.py"
    script.write_text(
        "import os\n"
        "from reiqa.devices import device\n"
        "from reiqa.params import ComputeParams\n"
        "from torch import distributed\n"
        "with device(ComputeParams()):\n"
        "    distributed.init_process_group('gloo')\n"
        "    distributed.barrier()\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    job = subprocess.Popen(
        [*torchrun, "--nproc-per-node", "2", str(script)], stderr=subprocess.PIPE, text=True
    )
    assert job.stderr is not None
    for line in job.stderr:
        if "waiting for a free GPU" in line:
            break
    first.kill()
    printed = job.stderr.read()
    assert job.wait() == 0, printed
    assert sorted(line for line in printed.splitlines() if "leased" in line) == [
        "GPU 0 leased",
        "GPU 1 leased",
    ]


def test_what_one_job_of_slurm_calls_0_is_not_what_another_does(hold, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    first = hold()
    assert first.leased() == ["0"]
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert hold().leased() == ["0"]
    assert "waiting" in hold().says()


def test_two_steps_of_a_job_wait_for_each_other_only_at_the_same_gpu(hold, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_STEP_GPUS", "2")
    assert hold().leased() == ["0"]
    monkeypatch.setenv("SLURM_STEP_GPUS", "3")
    assert hold().leased() == ["0"]
    monkeypatch.setenv("SLURM_STEP_GPUS", "2")
    assert "waiting" in hold().says()


def test_faked_gpus_are_bounded_by_the_schedulers_assignment(monkeypatch):
    monkeypatch.setenv("REIQA_FAKE_GPUS", "0,1,2,3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0,7")
    assert devices.visible_gpus() == ["0", "2"]


def test_more_gpus_than_there_are_is_one_line(hold):
    with pytest.raises(BadInputError, match=r"3 GPU.*2 visible"), devices.lease_gpus(3):
        pass


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("", []),
        ("0", ["0"]),
        ("0, 1", ["0", "1"]),
        ("1,1,0", ["1", "0"]),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("GPU-8a,MIG-1/2", ["GPU-8a", "MIG-1/2"]),
    ],
)
def test_the_schedulers_assignment_is_read_as_cuda_reads_it(monkeypatch, listed, names):
    monkeypatch.delenv("REIQA_FAKE_GPUS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
    assert devices.visible_gpus() == names


def test_an_assignment_on_a_machine_without_gpus_is_none(monkeypatch):
    monkeypatch.delenv("REIQA_FAKE_GPUS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert devices.visible_gpus() == []
    assert devices.resolved({"compute": {"device": "auto"}})["compute"]["device"] == "cpu"


@given(st.lists(st.sampled_from(["0", "1", "2", " 1", ""]), max_size=6))
def test_no_gpu_is_listed_twice(listed):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setenv("REIQA_FAKE_GPUS", ",".join(listed))
        names = devices.visible_gpus()
    assert len(names) == len(set(names)) and set(names) <= {"0", "1", "2"}


def test_threads_are_those_of_the_parameters_and_auto_without_a_gpu_is_the_cpu(monkeypatch):
    import torch

    monkeypatch.setenv("REIQA_FAKE_GPUS", "")
    before = torch.get_num_threads()
    with devices.device(ComputeParams(device="auto", threads=2)) as chosen:
        assert chosen.type == "cpu" and torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_cuda_asked_for_where_there_is_none_is_one_line(monkeypatch):
    monkeypatch.setenv("REIQA_FAKE_GPUS", "")
    with (
        pytest.raises(BadInputError, match=r"compute\.device: cuda requested"),
        devices.device(ComputeParams(device="cuda")),
    ):
        pass


COUNT = """
import resource, torch
from reiqa.devices import device
from reiqa.params import ComputeParams
with device(ComputeParams(device="cpu")):
    for _ in range(10):
        held = [torch.ones(6_000_000) for _ in range(4)]
        del held
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        held = [torch.ones(6_000_000) for _ in range(4)]
        del held
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_a_layer_frees_serves_the_next_one_without_new_pages():
    command = [sys.executable, "-c", COUNT]
    new = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Ten times four layers of 24 MB; a kernel short of memory may take a few of them back.
    assert new < 10 * 4 * 24_000_000 / resource.getpagesize() / 5


def test_bf16_instructions_are_those_that_torch_finds(monkeypatch):
    import torch

    for capabilities, found in (
        ({"avx2": True, "avx512_bf16": False}, []),
        ({"avx512_bf16": True, "amx_bf16": True, "avx512_f": True}, ["amx_bf16", "avx512_bf16"]),
        ({"architecture": "aarch64", "bf16": True}, ["bf16"]),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert devices.bf16_instructions() == found
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert devices.bf16_instructions() == []


@pytest.mark.parametrize(
    ("precision", "processor", "instructions", "warns"),
    [
        ("bf16", "cpu", [], True),
        ("bf16", "cpu", ["avx512_bf16"], False),
        ("bf16", "cuda", [], False),
        ("float32", "cpu", [], False),
    ],
)
def test_emulated_bf16_is_said_to_be_slow(
    monkeypatch, capsys, precision, processor, instructions, warns
):
    import torch

    monkeypatch.setattr(devices, "bf16_instructions", lambda: instructions)
    devices.warn_of_emulation("features.precision", precision, torch.device(processor))
    said = capsys.readouterr().err
    assert ("features.precision: this processor has no bfloat16" in said) is warns
