"""A stateless sampler: the items of a step are a function of seed and epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

from reiqa import seeds
from reiqa.errors import BadInputError


@dataclass(frozen=True)
class EpochSampler:
    """The order of items during training.

    Attributes:
        items: number of items.
        per_step: items per step, over all processes.
        seed: seed of the permutations.
        rank, world: rank of this process and number of processes; each takes its part of a step.
    """

    items: int
    per_step: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.items < 1:
            raise BadInputError("pretrain: the corpus has no photographs")
        if self.per_step % self.world:
            raise BadInputError(
                f"training.batch_size: {self.per_step} is not divisible by {self.world} processes;"
                " choose a multiple"
            )

    @property
    def repeats(self) -> int:
        """Repetitions of an item per epoch: one, or as many as a step needs."""
        return -(-self.per_step // self.items)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full steps per epoch; remaining items are skipped in that epoch."""
        return self.items * self.repeats // self.per_step

    def steps(self, first: int, last: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the items of this process for each step from ``first`` until ``last``.

        Yields:
            Lists of (item, repeat), where repeat counts the passes over the items. It seeds the
            augmentation.
        """
        local_count = self.per_step // self.world
        epoch, permutation = -1, list[int]()
        for step in range(first, last):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                permutation = self._permutation(epoch)
            start = step % self.steps_per_epoch * self.per_step + self.rank * local_count
            yield [
                (place % self.items, epoch * self.repeats + place // self.items)
                for place in permutation[start : start + local_count]
            ]

    def _permutation(self, epoch: int) -> list[int]:
        random = seeds.generator("order", self.seed, epoch)
        return [int(place) for place in random.permutation(self.items * self.repeats)]
