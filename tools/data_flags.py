"""The flags that say which data set a verb works on and how it is opened; shared by the verbs that take --data."""
from __future__ import annotations

from absl import flags


def define(default: str = "the network's own", required: bool = False) -> None:
    """Defines --data and the flags beside it; their names are `workflow.datasets.OPTIONS`."""
    flags.DEFINE_string("data", None, "an image folder, sequences:DIR, a video, a folder of videos, lanes or tfds:NAME"
                        + ("" if required else f"; default: {default}"), required=required, module_name=__name__)
    flags.DEFINE_string("split_csv", None, "a table image,split instead of the automatic split", module_name=__name__)
    flags.DEFINE_string("times_csv", None, "a table frame,milliseconds that orders frames in time",
                        module_name=__name__)
    flags.DEFINE_list("ood_partitions", None, "partitions (sub-folders) that are out of distribution",
                      module_name=__name__)
    flags.DEFINE_float("fps", None, "frames a second of ordered frames (default 20)", lower_bound=0.001,
                       module_name=__name__)
    flags.DEFINE_integer("data_seed", None, "seed of the automatic split and of made-up scenes (default 0)",
                         lower_bound=0, module_name=__name__)
    flags.DEFINE_integer("limit", None, "use about so many frames, evenly spread", lower_bound=1, module_name=__name__)
