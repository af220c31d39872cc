"""Shows a run: a line that moves in a terminal, lines in a log elsewhere, and TensorBoard.

Only the first process shows anything. Knows nothing of how training works.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from molmo_model.config import MolmoConfig
from molmo_training.costs import Work, operations, peak
from molmo_training.distributed import Worker
from molmo_training.judge import Verdict
from molmo_training.optimizers import COMPONENTS, Schedule, learning_rate

if TYPE_CHECKING:
    from molmo_training.trainer import StepReport

log = logging.getLogger(__name__)
LOG_EVERY = 25  # steps, where there is no terminal
_MEMORY = 0.95  # of the mean pace, from step to step


class Pace:
    """Work per second, over the last steps."""

    def __init__(self, config: MolmoConfig, worker: Worker):
        at_most = peak(worker.device)
        self.config, self.at_most = config, at_most and at_most * worker.ranks
        self._before, self._seconds, self._work = time.monotonic(), 0.0, np.zeros(5)

    def add(self, work: Work) -> None:
        """Takes in the work since the last call."""
        now = time.monotonic()
        self._seconds = _MEMORY * self._seconds + now - self._before
        self._work = _MEMORY * self._work + np.array(astuple(work))
        self._before = now

    def rest(self) -> None:
        """Leaves out the time since the last call: nothing was trained."""
        self._before = time.monotonic()

    @property
    def figures(self) -> dict[str, float]:
        """Tokens and pictures a second, and the share of what the GPUs could do, if known."""
        work = Work(*(self._work / self._seconds))
        found = {"tokens_per_s": work.tokens, "pictures_per_s": work.pictures}
        if self.at_most:
            found["mfu"] = operations(self.config, work) / self.at_most
        return found


class Show:
    """A run on a terminal, in a log and in TensorBoard."""

    def __init__(self, pace: Pace, schedule: Schedule, progress: Progress, board: Any):
        """board: a SummaryWriter, or what looks like one."""
        self.pace, self.schedule, self.progress, self.board = pace, schedule, progress, board
        self.task = progress.add_task("", total=schedule.steps)

    def on_step(self, report: StepReport) -> None:
        """Shows a step."""
        self.pace.add(report.work)
        figures, done = self.pace.figures, report.step + 1
        words = f"loss {report.loss:.3f}  " + "  ".join(_worded(figures))
        if report.skipped:
            words += f"  {report.skipped} pictures skipped"
        self.progress.update(self.task, completed=done, description=words)
        if not self.progress.console.is_terminal and done % LOG_EVERY == 0:
            log.info("step %d/%d %s", done, self.schedule.steps, words)
        self._draw(report, figures)

    def on_verdict(self, step: int, verdict: Verdict) -> None:
        """Shows figures and samples."""
        figures = ", ".join(f"{name} {value:.3f}" for name, value in verdict.figures.items())
        log.info("step %d: %s", step, figures)
        with self._drawing():
            for name, value in verdict.figures.items():
                self.board.add_scalar(f"eval/{name}", value, step)
            for number, sample in enumerate(verdict.samples):
                tag = f"sample/{number}"
                self.board.add_image(tag, sample.picture, step, dataformats="HWC")
                self.board.add_text(tag, f"{sample.prompt} **{sample.answer}**", step)
        self.pace.rest()

    def _draw(self, report: StepReport, figures: dict[str, float]) -> None:
        values = {"loss": report.loss, "auxiliary": report.auxiliary, "skipped": report.skipped}
        values |= {f"norm/{name}": norm for name, norm in report.norms.items()}
        values |= {f"speed/{name}": value for name, value in figures.items()}
        for name in COMPONENTS:
            rate = learning_rate(self.schedule.rate_of(name), report.step, self.schedule)
            values[f"rate/{name}"] = rate
        with self._drawing():
            for name, value in values.items():
                self.board.add_scalar(name, value, report.step)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Draws if it can; a full disk ends the curves and not the run."""
        try:
            yield
        except OSError as error:
            log.warning("no more curves: %s", error)
            self.board = _Nothing()


class _Nothing:
    """A board that draws nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextmanager
def watching(
    output: Path, config: MolmoConfig, schedule: Schedule, worker: Worker, step: int
) -> Iterator[Show | None]:
    """Shows a run in the first process; step: where it goes on."""
    if worker.rank != 0:
        yield None
        return
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    columns = (
        MofNCompleteColumn(),
        BarColumn(20),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    board = _board(output, step)
    if step:
        log.info("going on at step %d of %d", step, schedule.steps)
    with Progress(*columns, console=console) as progress:
        try:
            yield Show(Pace(config, worker), schedule, progress, board)
        finally:
            with suppress(OSError):
                board.close()


def write_run(output: Path, description: dict[str, object]) -> None:
    """Leaves what the run was made of beside its checkpoints."""
    (output / "run.json").write_text(json.dumps(description, indent=2, default=str) + "\n")


def _board(output: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no curves are kept: pip install tensorboard")
        return _Nothing()
    return SummaryWriter(output / "tensorboard", purge_step=step)


def _worded(figures: dict[str, float]) -> Iterator[str]:
    yield f"{figures['tokens_per_s']:.0f} tokens/s"
    yield f"{figures['pictures_per_s']:.1f} pictures/s"
    if "mfu" in figures:
        yield f"MFU {figures['mfu']:.0%}"
