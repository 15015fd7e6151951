"""The evaluation's command: what it prints and writes of a run of random numbers, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import quick_compilation, quick_jit
from PIL import Image
from saved_run import CONFIG, listing, save_run, saved
from saved_run import EPISODES as SAVED_EPISODES

from qmix_jax import evaluate
from qmix_jax.storage.output_file import writing
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.trainer import make_trainer

EPISODES = 12
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
METRICS = ("mean_return", "optimality", "solved", "mean_length", "foods_collected")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("evaluate"))


def files_of(folder):
    return {name: str(folder / f"out.{name}") for name in ("json", "gif", "html")}


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """What the command leaves, and how it ended."""
    names = files_of(tmp_path_factory.mktemp("written"))
    flags = ["--env-mode", "random", "--episodes", str(EPISODES), "--seed=3", "--replays", "5", "--episode", "2"]
    with pytest.MonkeyPatch.context() as patch, quick_compilation():
        patch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
        status = evaluate.main([str(run), *flags, *(f"--{name}={file}" for name, file in names.items())])
    return status, names, json.loads(Path(names["json"]).read_text())


def test_json_has_every_figure_with_its_interval(written):
    status, _, found = written
    assert status == 0
    for figures in (found, *found["baselines"].values()):
        for name in METRICS:
            assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]
    assert list(found["baselines"]) == ["greedy_nearest", "random"]
    assert (found["checkpoint"], found["env_mode"], found["episodes"], found["seed"]) == (
        "final",
        "random",
        EPISODES,
        3,
    )


def test_figures_are_means_of_the_episodes(written):
    _, _, found = written
    columns = {name: np.array(values) for name, values in found["per_episode"].items()}
    assert {len(values) for values in columns.values()} == {EPISODES}
    assert found["mean_return"] == pytest.approx(columns["return"].mean(), abs=1e-5)
    assert found["optimality"] == pytest.approx(columns["return"].sum() / columns["best_return"].sum(), abs=1e-5)
    assert found["mean_length"] == columns["length"].mean() == 5.0
    assert found["best_return"] == pytest.approx(columns["best_return"].mean(), abs=1e-5)
    assert len(np.unique(columns["best_return"])) == EPISODES


def test_a_gif_and_a_page_are_written(written):
    _, names, _ = written
    with Image.open(names["gif"]) as image:
        assert image.n_frames == 6
    page = Path(names["html"]).read_text(encoding="utf-8")
    assert "{{" not in page
    assert not re.search(r"(src|href)=.(?!data:,)", page)  # nothing is fetched
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    found = written[2]["per_episode"]
    for episode in data["episodes"]:  # the recording's figures, and the evaluation's
        number = episode["number"]
        assert episode["so_far"][-1] == pytest.approx(1000 * found["return"][number], abs=1)
        assert episode["return"] == found["return"][number]
        assert episode["present"][-4:].count("0") == found["foods_collected"][number]
        assert len(episode["actions"]) == 4 * episode["length"] == 4 * found["length"][number]
        assert sorted(food for route in episode["routes"] for food in route) == [0, 1, 2, 3]
    regrets = [episode["best"] - episode["return"] for episode in data["episodes"]]
    assert len(regrets) == 5
    assert regrets[0] == pytest.approx(max(np.subtract(found["best_return"], found["return"])), abs=1e-5)
    assert regrets == sorted(regrets, reverse=True)


def test_it_repeats_the_evaluations_of_a_run_with_its_seed(written):
    """As the trainer itself plays, as many episodes with the same parameters."""
    config = replace(CONFIG, env_mode="random", eval_episodes=EPISODES)
    evaluate_greedy = quick_jit(make_trainer(config, make_environment(config)).evaluate)
    params = saved(SAVED_EPISODES[-1]).state.learner.params
    evaluation = evaluate_greedy(params, evaluation_key(jax.random.key(3)))
    found = written[2]
    assert found["mean_return"] == pytest.approx(float(evaluation.mean_return), rel=1e-5)
    assert found["optimality"] == pytest.approx(float(evaluation.optimality), rel=1e-5)
    assert found["foods_collected"] == pytest.approx(float(evaluation.extra["foods_collected"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "results/run_<i>: must be given"),
        (["{run}/none"], "/none: must be the folder of a run, with configs/hparams.json"),
        (["{run}", "--episodes", "0"], "--episodes 0: must be a whole number, at least 1 and at most 100000"),
        (["{run}", "--episodes", "many"], "--episodes many: must be a whole number"),
        (["{run}", "--seed", "-1"], "--seed -1: must be a whole number, at least 0"),
        (["{run}", "--env_mode", "fix"], "--env_mode fix: did you mean fixed? must be"),
        (["{run}", "--replays=0"], "--replays 0: must be a whole number"),
        (["{run}", "--gif", "x.gif", "--episodes", "3", "--episode", "3"], "--episode 3: must be below --episodes, 3"),
        (["{run}", "--json", "{run}"], ": must be a file, but is a folder"),
        (["{run}", "--json", "{run}/none/out.json"], "/none does not"),
        (["{run}", "--html", ""], "--html '': must name a file"),
        (["{run}", "--episode_count", "1"], "--episode_count: unknown flag; did you mean --episode?"),
        (["{run}", "{run}"], "results/run_1: unexpected value; there is one run"),
        (["{run}", "--seed"], "--seed: expected one argument"),
        (["{run}", "--layout-seed", "2", "--env_mode=random"], "--layout_seed 2: is for fixed starts"),
        (["{run}", "--on", "corners"], "--on corners: must be package.module:NAME"),
        (["{run}", "--on", "jaxmarl:coin_game"], "--on jaxmarl:coin_game: must be package.module:NAME"),
        (["{run}", "--on", "no_such:Corners"], "--on no_such:Corners: there is no module no_such"),
        (["{run}", "--on", "layouts:Corner"], "--on layouts:Corner: did you mean Corners?"),
        (["{run}", "--on", "meeting:Meeting"], "--on meeting:Meeting: its num_agents is 2, must be 4"),
        (
            ["{run}", "--on", "layouts:Corners", "--env_mode", "random"],
            "--env_mode random: is for the grid, and cannot",
        ),
        (["{run}", "--checkpoint", "ep5"], "--checkpoint ep5: must be one of final, best, ep0, ep4, ep8"),
        (["{run}", "--checkpoint", "../final"], "--checkpoint ../final: must be one of final, best, ep0, ep4, ep8"),
    ],
)
def test_bad_input_is_one_line(run, capsys, monkeypatch, flags, message):
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    monkeypatch.syspath_prepend(EXAMPLES)
    before = listing(run)
    assert evaluate.main([flag.format(run=run) for flag in flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qmix-jax evaluate: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert listing(run) == before


def test_it_plays_on_an_environment_of_the_users_own(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "short_of_it.py").write_text(
        "from env_jax import GridWorld25\n\n\ndef Short():\n    return GridWorld25('random', max_steps=3)\n"
    )
    file = tmp_path / "out.json"
    with quick_compilation():
        assert evaluate.main([str(run), "--on", "short_of_it:Short", "--episodes", "2", "--json", str(file)]) == 0
    assert " on short_of_it:Short: 2 episodes; seed 0" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert (found["environment"], found["env_mode"], found["layout_seed"]) == ("short_of_it:Short", None, None)
    assert found["per_episode"]["length"] == [3.0, 3.0]


def test_a_damaged_model_and_a_full_disk_have_statuses_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    run = save_run(tmp_path)
    (run / "models" / "best_model" / "SHA256SUMS").write_text("")
    assert evaluate.main([str(run), "--checkpoint", "best"]) == 1

    def fail(run, options):
        with writing("out.json"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("qmix_jax.reports.evaluate.evaluate_run", fail)
    assert evaluate.main([str(run)]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert err.endswith("cannot write out.json: No space left on device\n")


@pytest.mark.parametrize("flag", ["gif", "html"])
def test_an_environment_without_pictures_is_refused(run, capsys, monkeypatch, flag):
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    monkeypatch.setattr("qmix_jax.reports.evaluate.can_show", lambda environment: False)
    assert evaluate.main([str(run), f"--{flag}", "out"]) == 2
    message = "must show an environment that draws its states; GridWorld25v0 has no EnvSpec.render"
    assert capsys.readouterr().err == f"qmix-jax evaluate: error: --{flag} out: {message}\n"
