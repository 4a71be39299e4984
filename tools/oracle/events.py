"""Event files of TensorBoard, by its own writer and reader (tensorboard 2.21, no tensorflow needed).

    python events.py            writes tests/data/golden/train/events*.bin
    python events.py FOLDER     prints what TensorBoard reads from a folder that furlong wrote: tag, step, value
"""
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/golden/train"


def scalar(step, wall, tag, value):
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
    return event_pb2.Event(wall_time=wall, step=step, summary=summary)


def write(name, events):
    with open(OUT / name, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))


def make():
    version = event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2")
    write("events.bin", [version, scalar(1, 1700000001.5, "loss", 3.25), scalar(300, 1700000002.0, "grad_norm", 0.1),
                         scalar(1 << 40, 1700000003.0, "lr", -1e-5)])
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    write("events_resumed.bin", [version, event_pb2.Event(wall_time=1700000000.25, step=300, session_log=start)])


def show(folder):
    events = event_accumulator.EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        for e in events.Scalars(tag):
            print(tag, e.step, repr(e.value))


if len(sys.argv) > 1:
    show(sys.argv[1])
else:
    make()
