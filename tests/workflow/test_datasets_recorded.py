"""A detector file names no machine's places, and its data are found again beside it."""
import os

from leanood.workflow import datasets


def test_paths_are_written_as_seen_from_the_file(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "run" / "out").mkdir(parents=True)
    told = {"data": {"spec": f"sequences:{tmp_path}/images", "fps": 20.0, "limit": None, "ood_partitions": ["night"]},
            "network": {"model": str(tmp_path / "run"), "outputs": "mu,logvar"}}
    written = datasets.relative(told, str(tmp_path / "run" / "out"))
    assert written == {"data": {**told["data"], "spec": "sequences:../../images"},
                       "network": {"model": "..", "outputs": "mu,logvar"}}
    assert datasets.seen_from(written, str(tmp_path / "run" / "out")) == told


def test_a_folder_named_like_a_word_is_no_word(tmp_path):
    (tmp_path / "lanes").mkdir()
    assert datasets.relative(str(tmp_path / "lanes"), str(tmp_path)) == "./lanes"
    assert datasets.seen_from("./lanes", str(tmp_path)) == str(tmp_path / "lanes")
    assert datasets.seen_from("lanes", str(tmp_path)) == "lanes"


def test_words_and_places_that_are_gone_stay_as_they_are(tmp_path):
    for spec in ("lanes", "tfds:mnist", "../elsewhere", "", None, 3):
        assert datasets.seen_from({"spec": spec}, str(tmp_path))["spec"] == spec
    assert datasets.relative({"spec": "lanes:frames=240"}, str(tmp_path)) == {"spec": "lanes:frames=240"}
    assert datasets.relative(os.path.join(os.sep, "a"), os.path.join(os.sep, "a")) == "."
