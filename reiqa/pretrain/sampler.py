"""Which items make which step: a function of seed and epoch, so that nothing need be remembered."""

from collections.abc import Iterator
from dataclasses import dataclass

from reiqa import seeds
from reiqa.errors import BadInputError


@dataclass(frozen=True)
class EpochSampler:
    """The order in which items are learnt from.

    Attributes:
        items: how many there are.
        per_step: items a step, over all processes.
        seed: of the permutations.
        rank, world: number of this process among how many; each takes its share of a step.
    """

    items: int
    per_step: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.items < 1:
            raise BadInputError("pretrain: there is no photograph to learn from")
        if self.per_step % self.world:
            raise BadInputError(
                f"training.images: {self.per_step} a step cannot be shared evenly by {self.world}"
                " processes"
            )

    @property
    def repeats(self) -> int:
        """How often an item comes in an epoch: once, or as often as one step needs."""
        return -(-self.per_step // self.items)

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in an epoch; what is left over waits for another permutation."""
        return self.items * self.repeats // self.per_step

    def since(self, first: int, last: int) -> "StepBatches":
        """Return the steps from ``first`` to before ``last``, to be iterated or counted."""
        return StepBatches(self, first, last)

    def steps(self, first: int, last: int) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's share of each step from ``first`` to before ``last``.

        Yields:
            Pairs of an item's number and of its turn: how often it could have come before. The
            turn decides the augmentation.
        """
        share = self.per_step // self.world
        epoch, permutation = -1, list[int]()
        for step in range(first, last):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                permutation = self._permutation(epoch)
            start = step % self.steps_per_epoch * self.per_step + self.rank * share
            yield [
                (place % self.items, epoch * self.repeats + place // self.items)
                for place in permutation[start : start + share]
            ]

    def _permutation(self, epoch: int) -> list[int]:
        random = seeds.generator("order", self.seed, epoch)
        return [int(place) for place in random.permutation(self.items * self.repeats)]


@dataclass(frozen=True)
class StepBatches:
    """A stretch of an order, in the form that a data loader takes its batches from."""

    order: EpochSampler
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.order.steps(self.first, self.last)
