"""Reads the event files of a directory with TensorBoard, and prints their contents as JSON."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def read(directory: str) -> dict:
    """Scalars as lists of [step, value]; histograms as lists of [step, count]; texts by tag."""
    events = EventAccumulator(directory, size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    texts = {}
    for tag in tags["tensors"]:
        array = tensor_util.make_ndarray(events.Tensors(tag)[0].tensor_proto)
        texts[tag] = array.reshape(-1)[0].decode()
    return {
        "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
        "histograms": {
            tag: [[e.step, e.histogram_value.num] for e in events.Histograms(tag)] for tag in tags["histograms"]
        },
        "texts": texts,
    }


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
