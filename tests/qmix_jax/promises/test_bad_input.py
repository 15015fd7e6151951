"""Bad input gets one line that names it and says what is accepted, exit status 2, and leaves every file as it was."""

import contextlib
import io
import json
import os
import shutil
from dataclasses import asdict, fields

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from saved_run import CONFIG, EPISODES, listing, reseal, save_run

from qmix_jax import train as cli
from qmix_jax.config import KNOWN_ENVS, Config
from qmix_jax.errors import ConfigError
from qmix_jax.presets import PRESETS
from qmix_jax.storage.checkpoint import checkpoint_name
from qmix_jax.storage.hparams import FORMAT, read_config

GOLDEN = [  # whole lines; elsewhere the flag and the exit status count
    ("--lr -1e-3", "--lr -1e-3: must be a number, above 0 and at most 1"),
    ("--num-envs 1.5", "--num_envs 1.5: must be a whole number, at least 1 and at most 65536"),
    ("--state_clock maybe", "--state_clock maybe: must be true or false"),
    ("--env_mode grid", "--env_mode grid: must be one of fixed, random"),
    (
        "--algorithm QMIX",
        "--algorithm QMIX: did you mean qmix? must be one of qmix, vdn, iql, madqn, cw_qmix, ow_qmix, qplex, qplex_gap",
    ),
    (
        "--preset Random",
        f"--preset Random: did you mean random? must be one of {', '.join(PRESETS)}",
    ),
    (
        "--env GridWorld25",
        f"--env GridWorld25: did you mean gridworld25? must be one of {', '.join(KNOWN_ENVS)}, another environment of "
        "these libraries, or package.module:NAME of your own",
    ),
    ("--env_args 3m --env jumanji:Any", "--env_args 3m: must be NAME=VALUE, with the name of an argument"),
    ("--env_args a=1 a=2 --env jumanji:Any", "--env_args a=2: a must be named once"),
    (
        "--env_args size=3",
        "--env_args size=3: gridworld25 has none; see --env_mode, --layout_seed and --max_steps_per_ep",
    ),
    ("--shaped_reward_steps 0", "--shaped_reward_steps 0: must be a whole number, at least 1 and at most 2147483647"),
    ("--learning-rate 1", "--learning_rate: unknown flag; did you mean --lr?"),
    ("--zzzz", "--zzzz: unknown flag; see --help"),
    ("512", "512: unexpected value; flags begin with --, see --help"),
    ("--lr", "--lr: expected one argument"),
    (
        "--total_steps 200 --total_episodes 1000",
        "--total_steps 200 and --total_episodes 1000: give only one of them",
    ),
    (
        "--buffer_capacity 100",
        "--buffer_capacity 100: must be at least 2048, --num_envs 512 times the 4 steps of a sequence and its targets",
    ),
    ("--num_devices 3", "--num_envs 512: must be a multiple of --num_devices 3"),
]
_FLAGS = [
    "--lr 0",
    "--lr -1e-3",
    "--lr abc",
    "--lr nan",
    "--lr=inf",
    "--max_grad_norm inf",
    "--gamma 1.01",
    "--num_envs -3",
    "--train_frequency 10000000000",
    "--hidden_sizes",
    "--alpha 2",
    "--min_buffer_size 200000",
    "--run_directory taken",
    "--run_directory .",
    "--preset fast",
    "--preset",
    "--results_dir taken",
    "--results_dir taken/below",
    "--num_devices 1025",
    "--total_episodes 0",
    "--total_steps 1e-6",
    "--total_steps 1e400",
    "--seed nan",
    "--max_steps_per_ep 65536",
    "--num_envs 65537",
    "--seed 4294967296",
    "--layout_seed=-1",
    "--env_mode",
    "--env_mode=",
    "--encoding RAW",
    "--double_q 2",
    "--checkpoint_replay=",
    "--n_step 0",
    "--epsilon_end -0.1",
    "--greedy_envs 1.5",
    "--optimizer_epsilon 0",
    "--max_grad_norm 1e39",
    "--weight_decay -1",
    "--eval_episodes 0",
    "--keep_resumable 0",
    "--max_bad_updates many",
    "--resume",
    "--",
]
FLAGS = [
    *((line, f"{line.replace('=', ' ')}:") for line in _FLAGS),
    ("--num-envs 0", "--num_envs 0:"),
    ("--num_envs 8 9", "9:"),
    (f"--total_steps {'9' * 400}", "99:"),
    ("--hidden_sizes 64 0", "--hidden_sizes 0:"),
    ("--hidden_sizes 64 -3", "--hidden_sizes -3:"),
    ("--nun_envs 3", "--nun_envs:"),
    ("--num_env 8", "--num_env:"),
    ("-n 3", "-n:"),
    ("--batch_size 200 --buffer_capacity 100 --num_envs 1 --min_buffer_size 9", "--batch_size 200:"),
    ("--run_directory=", "--run_directory '':"),
    ("--run_dir new", "--run_dir:"),
    ("--presett random", "--presett:"),
    (f"--results_dir {'a' * 300}", "File name too long"),
    ("--num_devices 4 --batch_size 10", "--batch_size 10:"),
    ("--total_episodes 20000000", "--total_episodes, --total_steps:"),
    ("--hidden_sizes 64,,64", "--hidden_sizes :"),
    ("--hidden_sizes 64,x", "--hidden_sizes x:"),
    (f"--hidden_sizes {'8 ' * 101}", "--hidden_sizes (8, 8,"),
    ("--checkpoint_reply false", "--checkpoint_reply:"),
    ("--resum results/run_1", "--resum:"),
    ("--help-me", "--help_me:"),
    ("-hx", "-h/--help:"),
]

# What follows --resume results/run_1, a run that is whole.
_CHANGES = [
    "--lr 0.002",
    "--lr abc",
    "--num_envs 8",
    "--seed 1",
    "--layout_seed 2",
    "--env_mode random",
    "--mixing_size 8",
    "--buffer_capacity 80",
    "--batch_size 8",
    "--max_steps_per_ep 10",
    "--gamma 0.9",
    "--n_step 2",
    "--results_dir elsewhere",
    "--save_interval 0",
    "--checkpoint_replay maybe",
    "--total_episodes 4",
    "--total_steps 36",
    "--preset random",
    "--preset nothing",
    "--run_directory elsewhere",
]
CHANGES = [
    *((line, f"{line}:") for line in _CHANGES),
    ("--num-devices 3", "--num_envs 4:"),
    ("--num-devices some", "--num_devices some:"),
    ("--hidden_sizes 4 4", "--hidden_sizes (4, 4):"),
    ("--share_parameters", "--share_parameters True:"),
    ("--total_steps 400 --total_episodes 100", "--total_episodes 100 and --total_steps 400:"),
    ("--total_steps 400 --total_episodes 1000", "--total_episodes 1000 and --total_steps 400:"),
    ("--total_episodes 1000000000", "--total_episodes, --total_steps:"),
    ("--nun_envs 4", "--nun_envs:"),
    ("run_2", "run_2:"),
]

# What hparams.json holds instead; an ellipsis takes the setting out.
EDITS = [
    ({"format": 0}, "format 0: must be 8, as this version writes it"),
    ({"format": 2}, "format 2: must be 8, as this version writes it"),
    ({"format": "3"}, "format '3': must be 8"),
    ({"format": ...}, "format None: must be 8"),
    ({"gamma": ...}, "'gamma' is missing"),
    ({"results_dir": ...}, "'results_dir' is missing"),
    ({"learning_rate": 0.1}, "'learning_rate': unknown setting"),
    ({"seed\n": 1}, r"'seed\n': unknown setting"),
    ({"lr": "0.001"}, "--lr 0.001:"),
    ({"lr": None}, "--lr None:"),
    ({"lr": float("nan")}, "--lr nan:"),
    ({"lr": 10**400}, "must be a number, above 0 and at most 1"),
    ({"max_grad_norm": 10**400}, "must be a number, above 0 and at most 3.402823466e+38"),
    ({"max_grad_norm": float("inf")}, "--max_grad_norm inf:"),
    ({"num_envs": 0}, "--num_envs 0:"),
    ({"num_envs": 4.0}, "--num_envs 4.0:"),
    ({"num_envs": True}, "--num_envs True:"),
    ({"num_envs": {}}, "--num_envs {}:"),
    ({"double_q": 1}, "--double_q 1:"),
    ({"env_mode": "grid\nworld\x1b[2J"}, "--env_mode grid world [2J:"),
    ({"hidden_sizes": 4}, "--hidden_sizes 4:"),
    ({"hidden_sizes": [1] * 101}, "...: must be a tuple of at least one value and at most 100"),
    ({"env_mode": "x" * 100_000}, "xxx...: must be one of fixed, random"),
    ({"x" * 100_000: 1}, "xxx: unknown setting"),
    ({"hidden_sizes": []}, "--hidden_sizes ():"),
    ({"hidden_sizes": [[4]]}, "--hidden_sizes [4]:"),
    ({"results_dir": 3}, "--results_dir 3:"),
    ({"total_steps": 100, "total_episodes": 9}, "--total_steps 100 and --total_episodes 9:"),
    ({"batch_size": 41}, "--batch_size 41:"),
    ({"min_buffer_size": 44}, "--min_buffer_size 44:"),
    ({"buffer_capacity": 15}, "--buffer_capacity 15:"),
    ({"num_devices": 3}, "--num_envs 4:"),
    ({"hidden_sizes": [8]}, "must have an intact checkpoint; checkpoint_ep8 cannot be used: resume.npz: "),
    ({"share_parameters": True}, "must have an intact checkpoint; checkpoint_ep8 cannot be used: resume.npz: "),
]
TEXTS = [
    (b"", "must be JSON"),
    (b"{", "must be JSON"),
    (b"{} {}", "must be JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"\xff\xfe{\x00}\x00", "hparams.json is not text"),
    (b"\x80\x04}\x94.", "hparams.json is not text"),
    (b'{"format": ' + b"[" * 100_000, "must be JSON"),
    (b'{"format": ' + b"9" * 10_000 + b"}", "must be JSON"),
    (b" " * 2_000_000, "more than 1000000 bytes"),
]


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace_by_link(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def each_checkpoint(run, damage):
    for episodes in EPISODES:
        damage(run / "models" / checkpoint_name(episodes))


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def truncate_arrays(checkpoint):
    cut(checkpoint / "resume.npz")
    reseal(checkpoint)


WHOLE = "must have an intact checkpoint"
HPARAMS = "must be the folder of a run, with configs/hparams.json"
DAMAGE = {
    "no folder": (remove, HPARAMS),
    "an empty folder": (lambda run: (remove(run), run.mkdir()), HPARAMS),
    "a file": (lambda run: (remove(run), run.write_text("")), HPARAMS),
    "no configs": (lambda run: remove(run / "configs"), HPARAMS),
    "no hparams": (lambda run: remove(run / "configs" / "hparams.json"), HPARAMS),
    "hparams are a folder": (
        lambda run: (remove(run / "configs" / "hparams.json"), (run / "configs" / "hparams.json").mkdir()),
        HPARAMS,
    ),
    "hparams are a pipe": (
        lambda run: (remove(run / "configs" / "hparams.json"), os.mkfifo(run / "configs" / "hparams.json")),
        HPARAMS,
    ),
    "hparams are a link": (lambda run: replace_by_link(run / "configs" / "hparams.json"), "'configs/hparams.json' is"),
    "configs are a link": (lambda run: replace_by_link(run / "configs"), "'configs' is not a plain file or folder"),
    "models are a link": (lambda run: replace_by_link(run / "models"), "'models' is not a plain file or folder"),
    "a log is a link": (lambda run: replace_by_link(run / "timing.csv"), "'timing.csv' is not a plain file or folder"),
    "plots are a pipe": (lambda run: os.mkfifo(run / "training_plots.png"), "'training_plots.png' is not a plain file"),
    "no models": (lambda run: remove(run / "models"), WHOLE),
    "no checkpoint": (lambda run: each_checkpoint(run, remove), WHOLE),
    "only parameters": (lambda run: each_checkpoint(run, lambda path: remove(path / "resume.npz")), "no resume.npz"),
    "no sums": (lambda run: each_checkpoint(run, lambda path: remove(path / "SHA256SUMS")), "SHA256SUMS is not a file"),
    "flipped bytes": (
        lambda run: each_checkpoint(run, lambda path: flip_a_byte(path / "resume.npz")),
        "checkpoint_ep4 cannot be used: 'resume.npz' does not match its checksum",
    ),
    "cut arrays": (lambda run: each_checkpoint(run, truncate_arrays), "resume.npz: File is not a zip file"),
    "no log": (lambda run: remove(run / "training_log.csv"), "training_log.csv does not match the checkpoint"),
    "an empty log": (lambda run: (run / "timing.csv").write_text(""), "timing.csv does not match the checkpoint"),
    "lock is a folder": (lambda run: (run / "lock").mkdir(), "lock cannot be locked: Is a directory"),
}
RUN = "results/run_1"
ELSEWHERE = [("a" * 300, "File name too long"), ("a/" * 2500, "File name too long"), ("a\0b", HPARAMS), ("", HPARAMS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory that holds nothing but a file named 'taken'."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    (tmp_path / "taken").write_text("")
    return tmp_path


@pytest.fixture
def run(whole, folder):
    """A run's directory there."""
    return shutil.copytree(whole, folder / RUN)


@pytest.fixture
def refusal(folder, capfd):
    """Call `main` with arguments that it has to refuse, and return what it says."""

    def refuse(*arguments):
        before = listing(folder)
        assert cli.main(arguments) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.endswith("\n")
        prefix, message = err.removesuffix("\n").split(": error: ", 1)
        assert prefix
        assert message.isprintable()  # so it is one line
        assert listing(folder) == before
        return message

    return refuse


def test_there_are_enough_bad_inputs():
    assert sum(map(len, (FLAGS, CHANGES, EDITS, TEXTS, DAMAGE, ELSEWHERE))) >= 60


@pytest.mark.parametrize(("line", "expected"), FLAGS, ids=[line[:40] for line, _ in FLAGS])
def test_flags(refusal, line, expected):
    assert expected in refusal(*line.split())


@pytest.mark.parametrize(("line", "expected"), GOLDEN, ids=[line for line, _ in GOLDEN])
def test_whole_lines(refusal, line, expected):
    assert refusal(*line.split()) == expected


@pytest.mark.parametrize(("value", "shown"), [("", "''"), ("  ", "''"), ("a\0b", r"'a\x00b'")])
def test_a_folder_without_a_name(refusal, value, shown):
    assert refusal("--results_dir", value) == f"--results_dir {shown}: must name a folder"


def test_a_value_of_two_lines_gets_one(refusal):
    assert refusal("--lr", "1\n2").startswith("--lr 1 2: must be a number")


def test_a_folder_that_cannot_be_written_to(folder, refusal, monkeypatch):
    (folder / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # nothing is unwritable for root, which CI may be
    assert "must be writable" in refusal("--results_dir", "locked/results")


@pytest.mark.parametrize(("line", "expected"), CHANGES, ids=[line for line, _ in CHANGES])
def test_what_a_resumed_run_cannot_change(run, refusal, line, expected):
    assert expected in refusal("--resume", RUN, *line.split())


@pytest.mark.parametrize(("changes", "expected"), EDITS, ids=[str(changes)[:40] for changes, _ in EDITS])
def test_edited_settings(run, refusal, changes, expected):
    path = run / "configs" / "hparams.json"
    hparams = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in hparams.items() if value is not ...}))
    message = refusal("--resume", RUN)
    assert message.startswith(f"--resume {RUN}: ")
    assert expected in message


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[expected + str(len(text)) for text, expected in TEXTS])
def test_settings_that_are_no_settings(run, refusal, text, expected):
    (run / "configs" / "hparams.json").write_bytes(text)
    message = refusal("--resume", RUN)
    assert message.startswith(f"--resume {RUN}: {RUN}/configs/hparams.json: ")
    assert expected in message


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_folders_that_hold_no_run_to_go_on_with(run, refusal, damage, expected):
    damage(run)
    message = refusal("--resume", RUN)
    assert message.startswith(f"--resume {RUN}: ")
    assert expected in message


@pytest.mark.parametrize(("name", "expected"), ELSEWHERE, ids=["long", "deep", "null", "empty"])
def test_names_of_no_folder(refusal, name, expected):
    assert expected in refusal("--resume", name)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """An empty working directory, in which `main` would train."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        for name in ("reports.training.run", "reports.training.resume_run", "train.prepare_libraries"):
            patch.setattr(f"qmix_jax.{name}", lambda *_, **__: None)
        patch.setattr("qmix_jax.train._start_jax", lambda config, *args: config)
        yield folder


def loaded(path):
    try:
        return read_config(path)
    except ConfigError as error:
        return error


def assert_loads_or_refuses(folder, content):
    path = folder / "hparams.json"
    path.write_bytes(content)
    found = loaded(path)
    path.unlink()
    if isinstance(found, Config):
        assert found.chunk_length * found.num_chunks >= found.vector_steps
    else:
        assert str(found).startswith(f"{path}: ")
        assert str(found).isprintable()


VALID = {"format": FORMAT, **asdict(CONFIG)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(VALID)) | st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(value=JSON)
def test_any_json_is_settings_or_refused(scratch, value):
    assert_loads_or_refuses(scratch, json.dumps(value).encode())


@settings(deadline=None, max_examples=300)
@given(changes=st.dictionaries(st.sampled_from(list(VALID)), JSON | st.integers(0, 100) | st.just(...), max_size=3))
def test_changed_settings_are_settings_or_refused(scratch, changes):
    hparams = {name: value for name, value in (VALID | changes).items() if value is not ...}
    assert_loads_or_refuses(scratch, json.dumps(hparams).encode())


@settings(deadline=None)
@given(at=st.integers(0, len(json.dumps(VALID))), length=st.integers(0, 30), bytes_=st.binary(max_size=8))
def test_any_bytes_are_settings_or_refused(scratch, at, length, bytes_):
    text = json.dumps(VALID).encode()
    assert_loads_or_refuses(scratch, text[:at] + bytes_ + text[at + length :])
    assert_loads_or_refuses(scratch, bytes_)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["1", "0", "-1", "8", "1e-3", "nan", "true", "fixed", "default", "-", "--", "="]
)
OWN_FLAGS = ("preset", "resume", "run_directory")
FLAG_NAMES = st.sampled_from([f"--{name}" for name in (*OWN_FLAGS, *(field.name for field in fields(Config)))])
ARGUMENTS = st.lists(
    FLAG_NAMES | WORDS | WORDS.map("--{}".format) | st.builds("{}={}".format, FLAG_NAMES, WORDS), max_size=5
)


@settings(deadline=None, max_examples=300)
@given(arguments=ARGUMENTS)
def test_any_arguments_train_or_are_refused(scratch, arguments):
    assume(not any(word.startswith(("-h", "--help", "--version")) for word in arguments))  # which print an answer
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(arguments)
    assert out.getvalue() == ""
    assert status in (0, 2)
    assert err.getvalue().count("\n") == err.getvalue().count(": error: ") == (status == 2)
    assert list(scratch.iterdir()) == []
