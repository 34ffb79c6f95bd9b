"""Who answers parts: processes of this machine, or tasks of Ray. Both may die at any moment."""

import dataclasses
import json
import selectors
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from .. import Error
from ._parts import Part, Question, answer, write


class Local:
    """Processes of this machine. Each says on its standard output when it is ready, and when it is done
    with a part, of which it gets one a line on its standard input."""

    def __init__(self, question: Question, out: Path, workers: int) -> None:
        self._start = json.dumps([dataclasses.asdict(question), str(out)])
        self._busy = selectors.DefaultSelector()
        self._idle: list[subprocess.Popen[str]] = []
        self._hire(workers)

    def _hire(self, number: int) -> None:
        """Start processes, side by side, and wait until they are ready."""
        command = [sys.executable, "-m", "bedside.cohort._worker", self._start]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        new = [subprocess.Popen(command, start_new_session=True, **pipes) for _ in range(number)]
        self._idle.extend(new)
        said = [_pipe(worker.stdout).readline() for worker in new]
        if not all(said):
            self.close()
            raise Error("a worker did not start; hint: why is on standard error")

    def start(self, part: Part) -> None:
        worker = self._idle.pop()
        try:
            print(json.dumps(part.sources), file=_pipe(worker.stdin), flush=True)
        except BrokenPipeError:
            pass  # it died meanwhile, which `wait` will see
        self._busy.register(_pipe(worker.stdout), selectors.EVENT_READ, (worker, part))

    def wait(self) -> Part:
        """The next part that a process is through with, dead or alive."""
        key = self._busy.select()[0][0]
        self._busy.unregister(key.fileobj)
        worker: subprocess.Popen[str]
        part: Part
        worker, part = key.data
        said = _pipe(worker.stdout).readline()
        if said:
            self._idle.append(worker)
            if why := json.loads(said):
                raise Error(why)
        else:
            _end(worker)
            self._hire(1)
        return part

    def close(self) -> None:
        for key in list(self._busy.get_map().values()):
            _end(key.data[0])
        for worker in self._idle:
            _end(worker)
        self._busy.close()


class Ray:
    """Tasks of the cluster that Ray is connected to; where it is to none, of this machine."""

    def __init__(self, question: Question, out: Path, workers: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("engine 'ray' needs Ray; hint: pip install 'bedside[ray]'") from error
        self._ray = ray
        if not ray.is_initialized():
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        task = ray.remote(num_cpus=1, max_retries=0)(_see_to)
        self._task: Any = lambda part: task.remote(part, question, out.absolute())
        self._busy: dict[Any, Part] = {}

    def start(self, part: Part) -> None:
        self._busy[self._task(part)] = part

    def wait(self) -> Part:
        """The next part that a task is through with, dead or alive."""
        (done,), _ = self._ray.wait(list(self._busy), num_returns=1)
        part = self._busy.pop(done)
        errors = self._ray.exceptions
        try:
            self._ray.get(done)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            pass
        except errors.RayTaskError as error:
            raise Error(str(error)) from error
        return part

    def close(self) -> None:
        for task in self._busy:
            self._ray.cancel(task, force=True)


def _see_to(part: Part, question: Question, out: Path) -> None:
    write(out, part.name, answer(part, question, out))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()
