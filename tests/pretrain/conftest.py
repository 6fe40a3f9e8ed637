import pytest
import torch
from torch.nn import functional

from reiqa import params
from reiqa.pretrain import views


class Patterns:
    """Stands in for chunks: patterns of 32 px, a group being four strengths of noise.

    Attributes:
        reads: every (item, turn) that was read, in order.
    """

    pairs, types = 8, 0

    def __init__(self, items=12):
        self.inputs = []
        self.items = items
        self.reads = []

    def __len__(self):
        return self.items

    def read(self, item, turn):
        self.reads.append((item, turn))
        return item, turn

    def render(self, read, device):
        pairs = [torch.cat([self.one(item, turn, v) for item, turn in read]) for v in (0, 1)]
        return views.Views(pairs[0].to(device), pairs[1].to(device))

    @staticmethod
    def one(item, turn, view):
        """Two groups of an item: smooth colours under four strengths of noise."""
        colours = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(item))
        base = functional.interpolate(colours, size=(32, 32), mode="bilinear")[:, None]
        seed = 10_000 * (turn + 1) + 10 * item + view
        noise = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        share = torch.linspace(0, 0.6, 4).view(1, 4, 1, 1, 1)
        return base * (1 - share) + noise * share


def make_params(**training):
    """Parameters of a run that takes a second: 3 epochs of 3 steps."""
    settings = {
        "epochs": 3,
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "queue_size": 24,
        "projection_dim": 16,
        "momentum": 0.9,
        "warmup_epochs": 0.5,
        "negatives": "queue+chunk",
        "checkpoint_every": 2,
        **training,
    }
    return params.Params.model_validate(
        {
            "preset": "test",
            "datasets": ["demo"],
            "compute": {"device": "cpu", "threads": 1},
            "chunks": {"corpora": ["none"]},
            "content": {"source": "package", "backbone": "efficientnet_lite0"},
            "quality": {
                "source": "pretrain",
                # Smooth activations: rounding is not blown up, as ReLUs on small batches do it.
                "backbone": "mobilenet_v3_small",
                "training": settings,
            },
        }
    )


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def make():
    return make_params


@pytest.fixture
def patterns(monkeypatch):
    """Make `pretrain` learn from patterns instead of chunks; give them to look at."""
    from reiqa.pretrain import loop

    source = Patterns()
    monkeypatch.setattr(loop, "view_source", lambda expert, params: source)
    return source
