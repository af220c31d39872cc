import threading

import pytest

from molmo_ros.worker import InFlight, Job, Worker

PATIENCE_S = 10.0


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


class Gate:
    """A job that runs until it is let go, or stopped."""

    def __init__(self, worker: Worker, **options: object) -> None:
        self.entered, self._leave = threading.Event(), threading.Event()
        self.was_stopped = False
        self.job = Job(self._run, on_stop=self._stop, **options)
        assert worker.submit(self.job)
        assert self.entered.wait(PATIENCE_S)

    def let_go(self) -> None:
        self._leave.set()
        self.job.result.result(PATIENCE_S)

    def _stop(self) -> None:
        self.was_stopped = True
        self._leave.set()

    def _run(self) -> None:
        self.entered.set()
        assert self._leave.wait(PATIENCE_S)


def test_all_jobs_run_in_one_and_the_same_thread(worker):
    job = Job(threading.get_ident)
    assert worker.submit(job)
    ran_in = [job.result.result(PATIENCE_S), worker.call(threading.get_ident)]
    assert ran_in[0] == ran_in[1] != threading.get_ident()


def test_reject_turns_a_second_job_away_while_one_runs(worker):
    gate = Gate(worker)
    assert not worker.submit(Job(list), "reject", 5)
    gate.let_go()
    again = Job(lambda: "next")
    assert worker.submit(again, "reject", 5)
    assert again.result.result(PATIENCE_S) == "next"


def test_queue_lets_as_many_wait_as_the_limit_says(worker):
    gate = Gate(worker)
    waiting = [Job(list) for _ in range(3)]
    assert [worker.submit(job, "queue", 2) for job in waiting] == [True, True, False]
    assert worker.waiting == 2
    gate.let_go()
    assert waiting[1].result.result(PATIENCE_S) == []


def test_replace_stops_the_running_job_and_those_that_wait_in_its_lane(worker):
    stopped = []
    running = Gate(worker, lane="wrist")
    older = Job(list, lane="wrist", on_stop=lambda: stopped.append("older"))
    other = Job(list, lane="head", on_stop=lambda: stopped.append("other"))
    assert worker.submit(other, "queue", 1)
    assert worker.submit(older, "queue", 2)
    newest = Job(lambda: "newest", lane="wrist")
    assert worker.submit(newest, "replace", 1)
    assert running.was_stopped
    assert stopped == ["older"]
    assert newest.result.result(PATIENCE_S) == "newest"


def test_lanes_take_turns_however_many_jobs_one_of_them_has(worker):
    done = []
    gate = Gate(worker, lane="wrist")
    jobs = [
        Job(lambda name=name: done.append(name), lane=name[:-1])
        for name in ("wrist1", "wrist2", "wrist3", "head1", "head2")
    ]
    for job in jobs:
        assert worker.submit(job, "queue", 10)
    gate.let_go()
    for job in jobs:
        job.result.result(PATIENCE_S)
    assert done == ["head1", "wrist1", "head2", "wrist2", "wrist3"]


def test_a_minor_job_gives_way_to_every_other(worker):
    standing = Gate(worker, is_minor=True)
    asked = Job(lambda: "asked")
    assert worker.submit(asked, "reject")
    assert standing.was_stopped
    assert asked.result.result(PATIENCE_S) == "asked"


def test_a_minor_job_waits_until_all_others_are_done(worker):
    done = []
    gate = Gate(worker)
    jobs = []
    for name, is_minor in (("minor", True), ("first", False), ("second", False)):
        jobs.append(Job(lambda name=name: done.append(name), is_minor=is_minor))
        assert worker.submit(jobs[-1], "queue", 5)
    gate.let_go()
    for job in jobs:
        job.result.result(PATIENCE_S)
    assert done == ["first", "second", "minor"]


def test_a_closed_worker_takes_no_more():
    worker = Worker()
    worker.close()
    assert not worker.submit(Job(list))


def test_a_job_that_waits_can_be_withdrawn_and_one_that_runs_cannot(worker):
    gate = Gate(worker)
    waiting = Job(list)
    assert worker.submit(waiting)
    assert worker.withdraw(waiting)
    assert not worker.withdraw(gate.job)
    gate.let_go()
    worker.call(list)
    assert not waiting.result.done()


def test_a_job_that_raised_hands_on_what_it_raised_and_the_next_one_runs(worker):
    def fail():
        raise OSError("no device")

    job = Job(fail)
    assert worker.submit(job)
    with pytest.raises(OSError, match="no device"):
        job.result.result(PATIENCE_S)
    with pytest.raises(OSError, match="no device"):
        worker.call(fail)
    assert worker.call(lambda: "next") == "next"


def test_waiting_ends_when_nothing_is_in_flight():
    in_flight, left = InFlight(), threading.Event()

    def wait():
        in_flight.wait()
        left.set()

    in_flight.begin()
    thread = threading.Thread(target=wait)
    thread.start()
    assert not left.wait(0.05)
    in_flight.end()
    assert left.wait(5.0)
    thread.join()
