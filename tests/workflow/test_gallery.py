"""Pictures of misjudged frames, and where they are odd."""
import io

import numpy as np

from leanood.workflow import gallery, view


def test_a_map_reddens_where_the_frame_is_odd():
    frame = np.full((40, 60, 3), 128, np.uint8)
    cells = np.zeros((2, 3))
    cells[1, 2] = 9.0
    scores = {"detector": np.array([0.4]), "alarm": np.array([False]), "channel": np.array(["local"]),
              "scale": np.array([1]), "map": cells[np.newaxis]}
    (picture,) = gallery.missed("pasted", scores, np.ones(1, bool), lambda at: frame)
    np.testing.assert_array_equal(picture.map, cells)
    figure = gallery.figure([picture, picture._replace(map=None)], "gallery")
    drawn, plain = (axes.get_images() for axes in figure.axes[gallery.MOST:gallery.MOST + 2])
    assert len(plain) == 1
    red = drawn[1].get_array()
    assert red[1, 2, 3] > 0.5
    assert red[0, 0, 3] == 0
    assert tuple(drawn[1].get_extent()) == (-0.5, 59.5, 39.5, -0.5)
    stored = io.BytesIO()
    figure.savefig(stored)
    assert stored.tell() > 1000


def test_the_terminal_shows_the_map():
    rows = view.heat([[0.0, 1.0], [4.5, 20.0]])
    assert rows == [["on #282828", "on #282828"], ["on #942828", "on #ff2828"]]
    assert view.heat([]) == []
