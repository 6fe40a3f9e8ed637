"""The pretraining loop."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from reiqa import devices, encoders, layout, progress, seeds
from reiqa import params as parameters
from reiqa.params import ExpertName, Params, TrainingParams
from reiqa.pretrain import checkpoints, distributed, moco, optimizers, training_log
from reiqa.pretrain.checkpoints import Checkpoints
from reiqa.pretrain.distortion_losses import distortion_loss, head_width
from reiqa.pretrain.distributed import DistContext
from reiqa.pretrain.sampler import EpochSampler
from reiqa.pretrain.views import Views, ViewSource, view_source


def pretrain(expert: ExpertName, params: Params) -> Path:
    """Pretrain an expert, resuming from the latest checkpoint if there is one.

    On the CPU the weights are bitwise reproducible from parameters and inputs, even after
    interruptions. Under torchrun every process calls this function; the main process writes files.

    Args:
        expert: expert to train.
        params: all parameters; ``params.expert(expert).training`` must be set.

    Returns:
        ``layout.model(expert)``: the weights. The card and the curve are written next to it.

    Raises:
        BadInputError: an input is missing or damaged, or a parameter is invalid.
        WorkFailedError: the run diverged; the last good checkpoint is kept.
    """
    with (
        devices.device(params.compute) as device,
        distributed.process_group(device) as ranks,
        _deterministic(device),
    ):
        devices.warn_of_emulation("compute.precision", params.compute.precision, device)
        run = PretrainingRun(expert, params, view_source(expert, params), device, ranks)
        run.train()
        if ranks.is_main:
            run.save(params)
    return layout.model(expert)


@dataclass(frozen=True)
class _StepMetrics:
    """Metrics of one step, as scalar tensors on the device."""

    loss: Tensor
    top1: Tensor
    alignment: Tensor
    uniformity: Tensor
    spread: Tensor


@dataclass(frozen=True)
class _LaunchedStep:
    """Metrics of a step that may not be finished: names, ``(M,)`` on the device, learning rate."""

    names: list[str]
    values: Tensor
    rate: float


class PretrainingRun:
    """One pretraining run: models, optimiser, schedule and checkpoints."""

    def __init__(
        self,
        expert: ExpertName,
        params: Params,
        source: ViewSource,
        device: torch.device,
        ranks: DistContext,
    ) -> None:
        """Build all components, then load the latest checkpoint."""
        section = params.expert(expert)
        assert section.training is not None  # params checks it
        self.expert, self.source = expert, source
        self.settings: TrainingParams = section.training
        self.device, self.ranks = device, ranks
        self._seed = seeds.derive("pretrain", expert, params.seed)
        self._autocast = params.compute.precision == "bf16"
        self.sampler = EpochSampler(
            len(source), self.settings.batch_size, self._seed, ranks.rank, ranks.world
        )
        self.total = self.settings.epochs * self.sampler.steps_per_epoch
        self._warmup = round(self.settings.warmup_epochs * self.sampler.steps_per_epoch)
        self._rate = optimizers.base_lr(self.settings, self.settings.batch_size * source.pairs)
        self.moco = self._models(params)
        self.optimizer = optimizers.build_optimizer(
            self.settings, self.moco.query, self._rate, self.moco.query.distortions
        )
        self.query = self._distributed(self.moco.query)
        if params.compute.compile:
            devices.check_compiler()
            self.query.compile()
            self.moco.key.compile()
        self.identity = checkpoints.run_identity(expert, params, source.inputs)
        place = checkpoints.checkpoint_folder(expert, self.identity)
        self.checkpoints = Checkpoints(place, self.identity, self.settings.keep)
        self.step = 0
        self.curve = training_log.TrainingCurve(self.total)
        self._resume()

    def train(self) -> None:
        """Run the remaining steps."""
        images = self.settings.batch_size
        live = None
        if self.ranks.is_main:
            live = training_log.LiveLogger(self.checkpoints.place / "live", self.curve)
            if not self.checkpoints.paths():
                self.checkpoints.write(self.step, self._state())
        start, first = time.monotonic(), self.step
        with progress.progress_bar(
            f"pretrain {self.expert}", self.total * images, "images", self.step * images
        ) as bar:

            def complete(launched: _LaunchedStep) -> None:
                measures = self.read_metrics(launched)
                if self.curve.add(self.step, self.epoch, measures) and live:
                    rate = (self.step - first) * images / (time.monotonic() - start)
                    live.row(self.curve.last(), images_per_s=rate)
                if self.ranks.is_main:
                    bar.set_postfix_str(training_log.format_metrics(measures), refresh=False)
                    bar.update(images)
                    if self.step % self.settings.checkpoint_every == 0 or self.step == self.total:
                        self.checkpoints.write(self.step, self._state())

            launched = None
            for item_data in self.load_batches():
                views = self.source.render(item_data, self.device)
                # Metrics are read after the views of the next step are launched, so that a GPU has
                # work while the host waits.
                if launched:
                    complete(launched)
                launched = self.launch_step(views)
                del views
            if launched:
                complete(launched)
        if live:
            live.close()

    @property
    def epoch(self) -> int:
        """Number of epochs started."""
        return -(-self.step // self.sampler.steps_per_epoch)

    def launch_step(self, views: Views) -> "_LaunchedStep":
        """Start one training step; a GPU may still be at work afterwards."""
        torch.manual_seed(seeds.derive("step", self._seed, self.step, self.ranks.rank))
        rate = optimizers.lr_at(self.step, self._rate, self._warmup, self.total)
        optimizers.set_lr(self.optimizer, rate)
        measured = self._update(views)
        self.step += 1
        values = self.ranks.all_reduce_mean(torch.stack(list(vars(measured).values())))
        return _LaunchedStep([*vars(measured)], values, rate)

    def read_metrics(self, launched: "_LaunchedStep") -> dict[str, float]:
        """Wait for the latest step and return its metrics, averaged over processes.

        Raises:
            WorkFailedError: the loss is not finite, or the embedding has collapsed.
        """
        measures = dict(zip(launched.names, launched.values.cpu().tolist(), strict=True))
        training_log.check_divergence(
            self.step, measures["loss"], measures["spread"], self.checkpoints.last()
        )
        return {**measures, "learning_rate": launched.rate}

    def _update(self, views: Views) -> _StepMetrics:
        groups, settings = views.query.shape[:2], self.settings
        with self.precision():
            outputs: moco.Outputs = self.query(self.to_batch(views.query))
            with torch.no_grad():
                all_keys = self._keys(self.to_batch(views.key))
        queries = outputs.embeddings.unflatten(0, groups)
        keys = self.ranks.local_shard(all_keys).unflatten(0, groups)
        within = settings.negatives == "queue+chunk"
        negatives = self.moco.negatives(self.step * len(all_keys))
        cosines = moco.logits(queries, keys, negatives, within)
        loss = moco.info_nce(cosines, settings.temperature)
        if settings.distortion_losses and views.labels and outputs.distortions is not None:
            loss = loss + distortion_loss(
                queries,
                outputs.distortions.unflatten(0, groups),
                views.labels,
                settings.distortion_losses,
                settings.temperature,
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.moco.update_momentum_encoder(settings.momentum)
        self.moco.enqueue(all_keys)
        flat, positive = queries.detach().flatten(0, 1), keys.flatten(0, 1)
        return _StepMetrics(
            loss.detach(),
            moco.top1(cosines.detach()),
            training_log.alignment(flat, positive),
            training_log.uniformity(flat),
            training_log.embedding_variance(flat),
        )

    def precision(self) -> torch.autocast:
        """Return the autocast context of the encoders: bfloat16, if enabled."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast)

    def _keys(self, images: Tensor) -> Tensor:
        # With one process and one BN split, a permutation would only change rounding.
        split = self.ranks.world * self.settings.bn_splits > 1
        if self.settings.batchnorm == "shuffle" and split:
            seed = seeds.derive("shuffle", self._seed, self.step)
            return distributed.encode_shuffled(
                lambda batch: self.moco.key(batch).embeddings, images, self.ranks, seed
            )
        encoded: moco.Outputs = self.moco.key(images)
        return self.ranks.all_gather(encoded.embeddings)

    def to_batch(self, views: Tensor) -> Tensor:
        """Flatten ``(G, V, 3, P, P)`` views to a channels-last batch."""
        return views.flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def _initial_encoder(self, params: Params) -> encoders.Encoder:
        return encoders.initial_encoder(self.expert, params, seeds.derive("weights", self._seed))

    def _models(self, params: Params) -> moco.MoCo:
        encoder = self._initial_encoder(params)
        outputs = head_width(self.source.types) if self.settings.distortion_losses else 0
        models = moco.MoCo(encoder, self.settings, seeds.derive("head", self._seed), outputs)
        if self.ranks.world > 1 and self.settings.batchnorm == "sync":
            distributed.convert_sync_batchnorm(models, self.device)
        # channels_last is faster on tensor cores and not slower on a CPU.
        models.to(self.device).to(memory_format=torch.channels_last)
        return models

    def _distributed(self, query: nn.Module) -> nn.Module:
        return query if self.ranks.world == 1 else DistributedDataParallel(query)

    def load_batches(self) -> Iterator[list[Any]]:
        """Yield the data of `ViewSource.read` for each remaining step."""
        # On a CPU, loader processes would compete with training.
        cpus = devices.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        workers = 0 if self.device.type == "cpu" else min(8, cpus)
        yield from DataLoader(
            _Items(self.source),
            batch_sampler=self.sampler.steps(self.step, self.total),
            collate_fn=list,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.moco.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve.state(),
            "normalization": self.moco.query.encoder.normalization.name,
        }

    def _resume(self) -> None:
        state = self.checkpoints.read()
        if state is None:
            return
        self.step = state["step"]
        self.moco.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = training_log.TrainingCurve(self.total, state["curve"])
        if self.ranks.is_main:
            progress.log(f"pretrain {self.expert}: resuming after step {self.step}/{self.total}")

    def save(self, params: Params) -> None:
        """Write the curve, the weights and the card."""
        encoder, share = self.moco.query.encoder, params.expert(self.expert).interpolation
        if share != 1:
            encoder = encoders.interpolate(self._initial_encoder(params), encoder, share)
        path = layout.model(self.expert)
        self.curve.write(layout.companion(path, "curve.csv"))
        card = {
            "source": "pretrain",
            "epochs": self.settings.epochs,
            "steps": self.total,
            "pairs_per_step": self.settings.batch_size * self.source.pairs,
            "full_learning_rate": self._rate,
            "last": self.curve.last(),
            "parameters": parameters.tree_digest(self.identity["parameters"]),
            "inputs": self.identity["inputs"],
        }
        encoders.save_encoder(encoder, path, card)


class _Items(Dataset[Any]):
    """Dataset adapter of a view source, indexed by (item, repeat)."""

    def __init__(self, source: ViewSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self._source.read(*place)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms on the CPU, and restore the setting afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
