"""The mailbox pairs by stamps; strings stand for messages, it never looks into them."""

from molmo_ros.mailbox import KEPT, Mailbox

MS = 1_000_000  # nanoseconds


def filled(images: dict[int, str], depths: dict[int, str]) -> Mailbox:
    """A mailbox with images and depth images by their stamps in milliseconds."""
    mailbox = Mailbox()
    for stamp_ms, image in images.items():
        mailbox.put_image(stamp_ms * MS, image)
    for stamp_ms, depth in depths.items():
        mailbox.put_depth(stamp_ms * MS, depth)
    return mailbox


def test_an_empty_mailbox_has_no_frame():
    assert Mailbox().newest(0.02) is None


def test_the_newest_image_comes_with_the_depth_nearest_in_time():
    frame = filled({0: "i0", 33: "i33"}, {0: "d0", 20: "d20", 35: "d35"}).newest(0.02)
    assert (frame.image, frame.depth, frame.stamp_s) == ("i33", "d35", 0.033)


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
    mailbox.put_camera_info("k")
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
