"""The mailbox pairs by stamps; strings stand for messages, it never looks into them."""

from molmo_ros.mailbox import KEPT, Mailbox

MS = 1_000_000  # nanoseconds
START = 2_000 * MS  # a stamp of 0 would be none


def filled(images: dict[int, str], depths: dict[int, str]) -> Mailbox:
    """A mailbox with images and depth images by their stamps in milliseconds since the start."""
    mailbox = Mailbox()
    for stamp_ms, image in images.items():
        mailbox.put_image(START + stamp_ms * MS, image)
    for stamp_ms, depth in depths.items():
        mailbox.put_depth(START + stamp_ms * MS, depth)
    return mailbox


class Hand:
    """A clock that a test turns."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_empty_mailbox_has_no_frame():
    assert Mailbox().newest(0.02) is None


def test_the_newest_image_comes_with_the_depth_nearest_in_time():
    frame = filled({0: "i0", 33: "i33"}, {0: "d0", 20: "d20", 35: "d35"}).newest(0.02)
    assert (frame.image, frame.depth, frame.stamp_s) == ("i33", "d35", 2.033)


def test_depth_beyond_the_slop_does_not_belong_to_the_image():
    mailbox = filled({100: "i100"}, {79: "d79"})
    assert mailbox.newest(0.020).depth is None
    assert mailbox.newest(0.022).depth == "d79"


def test_where_depth_trails_an_older_but_complete_frame_is_taken():
    mailbox = filled({0: "i0", 33: "i33"}, {0: "d0"})
    assert mailbox.newest(0.02, need_depth=True).image == "i0"
    assert mailbox.newest(0.02).image == "i33"


def test_without_its_needs_there_is_no_frame():
    mailbox = filled({0: "i0"}, {})
    assert mailbox.newest(0.02, need_depth=True) is None
    assert mailbox.newest(0.02, need_camera_info=True) is None
    mailbox.put_camera_info(0, "k")
    assert mailbox.newest(0.02, need_camera_info=True).camera_info == "k"


def test_it_keeps_only_the_last_few_messages():
    mailbox = filled({ms: f"i{ms}" for ms in range(10)}, {0: "d0"})
    oldest_kept = 10 - KEPT
    assert mailbox.newest(oldest_kept * 1e-3, need_depth=True).image == f"i{oldest_kept}"
    assert mailbox.newest((oldest_kept - 1) * 1e-3, need_depth=True) is None


def test_clearing_forgets_everything():
    mailbox = filled({0: "i0"}, {0: "d0"})
    mailbox.clear()
    assert mailbox.newest(1.0) is None


def test_intrinsics_come_from_the_same_instant_and_from_any_where_none_do():
    mailbox = filled({0: "i0", 33: "i33"}, {0: "d0"})
    for stamp_ms in (0, 33, 66):
        mailbox.put_camera_info(START + stamp_ms * MS, f"k{stamp_ms}")
    assert mailbox.newest(0.02).camera_info == "k33"
    assert mailbox.newest(0.02, need_depth=True).camera_info == "k0"
    mailbox.put_image(START + 10_000 * MS, "later")
    assert mailbox.newest(0.02).camera_info == "k66"


def test_intrinsics_without_stamps_are_the_newest():
    mailbox = Mailbox(hand := Hand())
    for name in ("k0", "k1"):
        mailbox.put_camera_info(0, name)
        hand.now_s += 0.1
    mailbox.put_image(START, "image")
    assert mailbox.newest(0.02).camera_info == "k1"


def test_without_stamps_messages_belong_together_as_they_arrive():
    mailbox = Mailbox(hand := Hand())
    mailbox.put_depth(0, "d0")
    hand.now_s += 0.03
    mailbox.put_image(0, "i1")
    assert mailbox.newest(0.02).depth is None
    hand.now_s += 0.01
    mailbox.put_depth(START, "d1")  # one stamp of two does not help
    assert mailbox.newest(0.02).depth == "d1"
    mailbox.put_depth(0, "d2")  # as near as the other, and newer
    assert mailbox.newest(0.02).depth == "d2"


def test_it_counts_what_it_drops_without_a_frame_having_had_it():
    mailbox = filled({ms: f"i{ms}" for ms in range(KEPT)}, {0: "d0"})
    assert mailbox.newest(0.0, need_depth=True).image == "i0"
    for ms in range(KEPT, KEPT + 3):
        mailbox.put_image(START + ms * MS, f"i{ms}")
    assert (mailbox.images.dropped, mailbox.depths.dropped) == (2, 0)  # i1 and i2: i0 was used
