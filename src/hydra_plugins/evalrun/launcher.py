"""`hydra/launcher=local`, the default: one job after the other in this process; what is loaded once is kept."""

import contextlib
from collections.abc import Generator, Sequence

from evalrun.grid.job_spec import JobSpec
from evalrun.launch.base import SweepLauncher
from evalrun.launch.jobs import JobResult
from evalrun.launch.worker import Context, Worker


class EvalrunLauncher(SweepLauncher):
    """Runs jobs in the order of the plan; they log to this terminal."""

    here = True
    says = False

    def outcomes(self, context: Context, works: Sequence[JobSpec]) -> Generator[JobResult]:
        """Run the jobs one after the other."""
        with contextlib.closing(Worker(context)) as worker:
            worker.expect(works)
            for work in works:
                if self.stopping:
                    return
                yield worker.run(work)
