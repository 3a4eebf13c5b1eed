"""Training, from the first step to the last."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.storage import write_json
from training.data.batches import Batch
from training.data.cache import check_parent
from training.data.pairs import PairDataset
from training.devices import describe, make_fabric
from training.errors import DivergedError
from training.inference.checkpoints import BEST, CHECKPOINT, LAST, TrainedGenerator, save_generator
from training.memory import explained, remedies
from training.models.generators import of_one_stain
from training.models.pix2pix import Model, build_model
from training.run.averaging import Averaged, recalibrate
from training.run.history import (
    Listener,
    Meter,
    RunLog,
    StepRecord,
    ValidationRecord,
    broken_losses,
)
from training.run.machine import (
    as_run,
    check_memory,
    compiling_pays,
    fitted,
    half_precision,
    with_stain,
)
from training.run.plan import check_free
from training.run.preparation import Prepared, calibration_images, needs_alignment, prepare
from training.run.processes import Peers
from training.run.report import ABOUT, CONFIG, SAMPLES, write_report
from training.run.resume import Parts, Position, last_good, load_state, save_state
from training.run.samples import write_sheet
from training.run.stop import stop_on_signals
from training.run.validation import quality, validate
from training.settings.config import TrainConfig

Measure = Callable[[PairDataset, Path, Listener], PairDataset]
"""Returns a dataset with the alignment of its pairs; may keep what it measured in the run folder."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What a finished run leaves."""

    folder: Path
    epochs: int
    steps: int
    scores: dict[str, float]
    """Scores of the last validation, empty without one."""
    best: dict[str, float] | None
    """Scores of the best validation, whose generator is ``best.pt``."""


@one_at_a_time(
    lambda config, dataset, out, **_: None if os.environ.get("RANK", "0") != "0" else out
)
def train(
    config: TrainConfig,
    dataset: PairDataset,
    out: Path,
    *,
    resume: bool = False,
    cache_parent: Path | None = None,
    listener: Listener | None = None,
    measure: Measure | None = None,
) -> TrainingOutcome:
    """Train a model on ``dataset`` and leave everything in the run folder ``out``.

    ``measure`` finds out how well the pairs are aligned, where that is used; every process calls it,
    one after the first.

    A killed run goes on from its last checkpoint with ``resume`` and ends, on a CPU, with the same
    weights as if it had never stopped. Raises :class:`DivergedError` when a loss becomes NaN, and
    ``KeyboardInterrupt``, after a checkpoint, when a signal asks it to stop.
    """
    dataset, config = with_stain(dataset, config)
    check_folder(out, dataset.folders)
    if cache_parent is not None:
        check_parent(cache_parent, dataset)
    check_free(out, resume=resume)
    notes: list[str] = []
    fabric = make_fabric(config, notes.append)
    listener = listener if listener is not None and fabric.is_global_zero else Listener()
    config, side_px = fitted(config, dataset, notes.append)
    half = half_precision(fabric)
    with explained(lambda: remedies(as_run(config, fabric.device), side_px, half)):
        check_memory(config, side_px, fabric.device, half, notes.append)
        for text in notes:
            listener.note(text)
        if measure is not None and needs_alignment(config):
            with fabric.rank_zero_first():
                dataset = measure(dataset, out, listener)
        data = prepare(config, dataset, fabric, listener, cache_parent)
        run = _built(config, out, data, fabric, listener)
        position = load_state(out, run.parts) if resume else Position()
        if fabric.is_global_zero:
            write_json(out / CONFIG, config.as_dict())
            write_json(out / ABOUT, data.about(notes) | {"machine": describe(fabric)})
        with closing(
            RunLog(out, config.tensorboard, position.total, fabric.is_global_zero)
        ) as run_log:
            return run_epochs(run, position, run_log)


def _built(
    config: TrainConfig, out: Path, data: Prepared, fabric: Fabric, listener: Listener
) -> Run:
    """Draw the networks of a run."""
    compiled = config.compile and compiling_pays(fabric, data.batches.sizes, listener.note)
    torch.manual_seed(config.seed)
    model = build_model(config.model_copy(update={"compile": compiled}), fabric)
    averaged = None
    if config.ema:
        # A step of several processes sees as many images as that many steps of one.
        averaged = Averaged(model.generator, config.ema**fabric.world_size)
    torch.manual_seed(config.seed + 1 + fabric.global_rank)
    return Run(config, out, Peers(fabric), data, model, averaged, listener)


@dataclass(frozen=True, eq=False)
class Run:
    """What one run works with."""

    config: TrainConfig
    out: Path
    peers: Peers
    data: Prepared
    model: Model
    averaged: Averaged | None
    listener: Listener

    @property
    def fabric(self) -> Fabric:
        """Device, precision and processes."""
        return self.peers.fabric

    @property
    def parts(self) -> Parts:
        """What is saved of a run."""
        return Parts(self.config, self.model, self.averaged, self.peers, self.data.pairs)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return -(-len(self.data.batches) // self.config.accumulate)


def run_epochs(run: Run, position: Position, run_log: RunLog) -> TrainingOutcome:
    """Train from ``position`` to the end."""
    config, model = run.config, run.model
    scores: dict[str, float] = {}
    meter, saved_at = Meter(), time.monotonic()
    with stop_on_signals(run.listener.note) as stop:
        for epoch in range(position.epoch, config.total_epochs):
            for group in model.groups.values():
                group.set_learning_rate(config.learning_rate(epoch))
            first = position.step * config.accumulate
            for batches in grouped(run.data.batches.epoch(epoch, first), config.accumulate):
                losses = model.step(batches)
                if run.averaged is not None:
                    run.averaged.update(model.generator)
                position = position.after_step()
                run.listener.advanced(position.total, config.total_epochs * run.steps_per_epoch)
                meter.add(losses, sum(len(batch.he) for batch in batches) * run.fabric.world_size)
                if position.total % config.log_every == 0:
                    log(run, position, meter, run_log)
                due = time.monotonic() - saved_at > 60 * config.save_minutes
                stopping, saving = run.peers.any(position.total, stop.requested, due)
                if stopping or saving:
                    save(run, position, meter)
                    saved_at = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt
            done = epoch + 1
            if done % config.validate_every == 0 or done == config.total_epochs:
                log(run, position, meter, run_log)
                position, scores = score(run, position.after_epoch(), run_log)
                save(run, position, meter)
                meter.restart(run.data.batches.waited_s)
                saved_at = time.monotonic()
            else:
                position = position.after_epoch()
    return TrainingOutcome(run.out, position.epoch, position.total, scores, position.best)


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield lists of ``size`` batches; the last one may be shorter."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def log(run: Run, position: Position, meter: Meter, run_log: RunLog) -> None:
    """Write down what the steps since the last time were like; stop where a loss is no number."""
    if not meter.steps:
        return
    losses, images_per_s, waiting, step_s = meter.read(run.data.batches.waited_s)
    check(run, position, losses)
    total = run.config.total_epochs * run.steps_per_epoch
    record = StepRecord(
        position.epoch,
        position.total,
        total,
        run.config.learning_rate(position.epoch),
        losses,
        images_per_s,
        waiting,
        step_s * (total - position.total),
    )
    run_log.stepped(record)
    run.listener.stepped(record)


def save(run: Run, position: Position, meter: Meter) -> None:
    """Write a checkpoint, unless a loss since the last log is no number."""
    check(run, position, meter.means())
    save_state(run.out, position, run.parts)
    run.fabric.barrier()


def check(run: Run, position: Position, losses: dict[str, float]) -> None:
    """Raise :class:`DivergedError` where a loss is NaN or infinite."""
    broken = broken_losses(losses)
    if broken:
        raise DivergedError(
            f"training diverged at step {position.total}, epoch {position.epoch}: {broken}. "
            f"Stopped; {last_good(run.out / CHECKPOINT)}."
        )


def score(run: Run, position: Position, run_log: RunLog) -> tuple[Position, dict[str, float]]:
    """Score the generator as it would be used, keep it, draw a sheet, renew the report."""
    scores: dict[str, float] = {}
    if run.fabric.is_global_zero:
        network = deployed(run)
        spec, data = run.model.spec, run.data
        alone = [of_one_stain(network, spec, stain) for stain in spec.stains] or [network]
        result = validate(
            [alone[0 if data.stains is None else data.stains[p]] for p in data.held_out or (0,)],
            replace(spec, stains=()),
            data.cache,
            data.held_out or (0,),
            batch_statistics=run.config.statistics == "batch",
        )
        scores = result.scores if data.held_out else {}
        trained = TrainedGenerator(
            network, spec, run.out, data.mpp, run.config.as_dict(), position.epoch, scores
        )
        save_generator(run.out / LAST, trained)
        best = not scores or position.best is None or quality(scores) > quality(position.best)
        if best:
            save_generator(run.out / BEST, trained)
            position = replace(position, best=scores or None)
        write_sheet(run.out / SAMPLES / f"epoch_{position.epoch:04d}.png", result.sheet)
        if scores:
            record = ValidationRecord(position.epoch, position.total, scores, best)
            run_log.validated(record)
            run.listener.validated(record)
        write_report(run.out)
    run.fabric.barrier()
    return position, scores


def deployed(run: Run) -> nn.Module:
    """Return a copy of the generator as it will be used: averaged, recalibrated, evaluating."""
    source = run.model.generator if run.averaged is None else run.averaged.network
    network = copy.deepcopy(source).requires_grad_(False).eval()
    if run.config.recalibrate:
        multiple_px = run.model.spec.multiple_px
        images = calibration_images(run.data, run.config.recalibrate, multiple_px)
        with run.fabric.autocast():
            recalibrate(network, images)
    return network
