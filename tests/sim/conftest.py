import pytest

from molmo_sim.render import open_renderer


@pytest.fixture(scope="module", params=["gl", "rays"])
def renderer(request):
    """Each backend in turn, in a small picture: rays are slow."""
    yield from _opened(request.param, 320, 240)


@pytest.fixture(scope="module")
def any_renderer():
    """Whatever this machine has, in the size that cameras have."""
    yield from _opened("auto", 640, 480)


def _opened(backend, width, height):
    try:
        renderer = open_renderer(width, height, backend)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    yield renderer
    renderer.close()
