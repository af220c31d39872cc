"""What glibc does with freed pictures, in a process of its own: the setting is for good."""

import subprocess
import sys

FAULTS = """
import resource, threading
from molmo_ros.heap import keep_freed_pictures

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def pictures(rounds):
    for _ in range(rounds):
        image, depth = bytearray(1280 * 720 * 3), bytearray(1280 * 720 * 4)

def film():
    pictures(5)
    before = faults()
    pictures(100)
    print(faults() - before)

keep_freed_pictures()
film()
listener = threading.Thread(target=film)
listener.start()
listener.join()
"""


def test_pictures_come_into_memory_that_was_used_before():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    found = [int(line) for line in done.stdout.split()]
    assert len(found) == 2, done.stderr
    one_picture = 1280 * 720 * 3 // 4096  # pages
    assert max(found) < one_picture  # of a hundred pictures and their depth
