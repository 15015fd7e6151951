"""Dashboards read back by their own readers: every column of the logs, without duplicates after a resume."""

import json
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import wandb
from saved_run import CONFIG
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from qmix_jax import train as cli
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.runs.dashboards import Dashboards, TensorBoard, WeightsAndBiases, check_dashboards
from qmix_jax.storage.directory import make_run_directory
from qmix_jax.storage.files import check_no_links
from qmix_jax.storage.logs import EpisodeRows

ROWS = EpisodeRows(
    episode=np.array([5, 6]),
    episode_return=np.float32([1.0, 2.0]),
    episode_length=np.int32([10, 5]),
    epsilon=np.float32([0.5, 0.25]),
    loss=np.float32([np.nan, 3.0]),
    td_error=np.float32([np.nan, np.nan]),
    q_value=np.float32([0.0, 1.0]),
)
EVALUATION = {"env_steps": 80, "episode": 7, "mean_return": 1.25, "optimality": np.nan}
DIAGNOSTICS = {"env_steps": 80, "updates": 30, "q_value": 0.5}
WANTED = {
    "training/episode_return": 1.5,
    "training/episode_length": 7.5,
    "training/epsilon": 0.375,
    "training/loss": 3.0,
    "training/q_value": 0.5,
    "evaluation/mean_return": 1.25,
    "diagnostics/updates": 30.0,
    "diagnostics/q_value": 0.5,
}


@pytest.fixture
def directory(tmp_path):
    return make_run_directory(tmp_path / "run_1", "--results_dir")


def read_back(directory):
    """Steps and values by tag."""
    reader = EventAccumulator(str(directory.tensorboard))
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_reads_every_column(directory):
    with Dashboards(replace(CONFIG, tensorboard=True), directory, 0) as dashboards:
        dashboards.write(80, ROWS, EVALUATION, DIAGNOSTICS)
        dashboards.write(160, ROWS, None, DIAGNOSTICS)
    found = read_back(directory)
    assert {tag: events[0] for tag, events in found.items()} == {tag: (80, value) for tag, value in WANTED.items()}
    assert {tag for tag, events in found.items() if len(events) == 1} == {"evaluation/mean_return"}


def test_a_dashboard_that_fails_costs_a_warning(directory, monkeypatch, capsys):
    def refuse(*_):
        raise ConnectionError("gone")

    monkeypatch.setattr(TensorBoard, "write", refuse)
    with Dashboards(replace(CONFIG, tensorboard=True), directory, 0) as dashboards:
        for step in (80, 160):
            dashboards.write(step, ROWS, EVALUATION, DIAGNOSTICS)
    assert capsys.readouterr().err == "warning: --tensorboard true: no longer written: ConnectionError: gone\n"


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(directory):
    for begins, values in ((0, {80: 1.0, 160: 2.0, 240: 3.0}), (160, {240: 4.0, 320: 5.0})):
        sink = TensorBoard(directory, begins)
        for step, value in values.items():
            sink.write(step, {"a/b": value})
        sink.close()
    assert read_back(directory) == {"a/b": [(80, 1.0), (160, 2.0), (240, 4.0), (320, 5.0)]}


def test_without_dashboards_nothing_is_written(directory):
    with Dashboards(CONFIG, directory, 0) as dashboards:
        dashboards.write(80, ROWS, EVALUATION, DIAGNOSTICS)
    assert {path.name for path in directory.path.iterdir()} == {"configs", "models"}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))


def records(data):
    """Records of an offline run's file: LevelDB's log format, blocks of 32 KiB behind seven bytes of W&B's own."""
    found, at, part = [], 7, b""
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:  # padding
            at += 32_768 - at % 32_768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or a last part
            found.append(part)
            part = b""
    return found


def history(folder):
    """Rows of an offline run."""
    (path,) = folder.glob("*.wandb")
    found = []
    for data in records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.append({name: value for name, value in items.items() if name in ("_step", "a/b")})
    return found


def test_wandb_keeps_its_run_when_it_is_resumed(directory, offline):
    for values in ({80: 1.0, 160: 2.0}, {240: 4.0}):
        sink = WeightsAndBiases(CONFIG, directory)
        for step, value in values.items():
            sink.write(step, {"a/b": value})
        sink.close()
        if 80 in values:  # W&B names its folders by the second
            (folder,) = (directory.path.parent / "wandb").glob("offline-run-*")
            folder.rename(folder.with_name(f"offline-run-20250101_000000-{folder.name.rpartition('-')[2]}"))
    wandb.teardown()  # its own process writes the files
    folders = sorted((directory.path.parent / "wandb").glob("offline-run-*"))
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 1
    written = [row for folder in folders for row in history(folder)]
    assert written == [{"_step": step, "a/b": value} for step, value in ((80, 1.0), (160, 2.0), (240, 4.0))]
    check_no_links(directory.path)  # or it could not be resumed
    directory.wandb_id.write_text("../../elsewhere")
    with pytest.raises(DamagedError, match="must hold a Weights & Biases id"):
        WeightsAndBiases(CONFIG, directory)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_refused_before_anything_is_written(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    with pytest.raises(
        ConfigError,
        match=rf"--{name} true: needs {name}: install the extra '{name}', in a checkout",
    ):
        check_dashboards(replace(CONFIG, **{name: True}))
    assert cli.main([f"--{name}", "--results_dir", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
