"""Content changes: repeatable, local where they should be, and light stays."""
import numpy as np
import pytest

from leanood.data import content_changes, leaves

FRAME = leaves.image((120, 160), 1)
OTHER = leaves.image((120, 160), 2)


@pytest.mark.parametrize("name", content_changes.NAMES)
def test_repeatable_and_a_change(name):
    before = FRAME.copy()
    changed = content_changes.change(name, FRAME, 5, OTHER)
    assert changed.shape == FRAME.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, FRAME)
    np.testing.assert_array_equal(changed, content_changes.change(name, FRAME, 5, OTHER))
    np.testing.assert_array_equal(FRAME, before)


def test_each_is_what_its_name_says():
    def moved(name):
        return (content_changes.change(name, FRAME, 3, OTHER) != FRAME).any(axis=2)

    assert not moved("pasted object")[:60].any()
    assert not moved("shadow")[:60].any()
    assert 15 ** 2 < moved("pasted object").sum() <= 40 ** 2
    assert moved("copied piece").sum() <= 32 ** 2
    np.testing.assert_array_equal(content_changes.change("upside down", FRAME, 0), FRAME[::-1])
    half = content_changes.change("blended", FRAME, 0, OTHER).astype(int)
    assert np.abs(half - (FRAME.astype(int) + OTHER) / 2).max() <= 1
    bent = content_changes.change("elastic", FRAME, 0).astype(int)
    assert np.abs(bent.mean((0, 1)) - FRAME.mean((0, 1))).max() < 2


def test_errors_teach():
    with pytest.raises(ValueError, match="content change 'mirrored' is unknown"):
        content_changes.change("mirrored", FRAME, 0)
    with pytest.raises(ValueError, match="'blended' needs another image, other="):
        content_changes.change("blended", FRAME, 0)
