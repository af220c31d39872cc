import threading

import pytest

from molmo_ros.worker import InFlight, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_all_jobs_run_in_one_and_the_same_thread(worker):
    ran_in = [worker.submit(threading.get_ident).result(), worker.call(threading.get_ident)]
    assert ran_in[0] == ran_in[1] != threading.get_ident()


def test_a_second_job_is_turned_away_while_one_runs(worker):
    finish = threading.Event()
    running = worker.submit(finish.wait)
    assert worker.submit(finish.wait) is None
    finish.set()
    assert running.result()
    assert worker.submit(lambda: "next").result() == "next"


def test_there_is_room_again_after_a_job_that_raised(worker):
    def fail():
        raise OSError("no device")

    with pytest.raises(OSError, match="no device"):
        worker.submit(fail).result()
    assert worker.submit(lambda: "next").result() == "next"


def test_waiting_ends_when_nothing_is_in_flight():
    in_flight, left = InFlight(), threading.Event()

    def wait():
        in_flight.wait()
        left.set()

    with in_flight:
        thread = threading.Thread(target=wait)
        thread.start()
        assert not left.wait(0.05)
    assert left.wait(5.0)
    thread.join()
