"""The report: one page of a run, of random numbers here, and of what a sweep or a comparison found."""

import base64
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from finished_run import save_run as save_logs
from helpers import quick_compilation, resize, too_wide
from PIL import Image
from saved_run import CONFIG, listing, save_run

from qmix_jax import report
from qmix_jax.analysis.run_record import RunRecord, read_record
from qmix_jax.analysis.summary import summarise_group
from qmix_jax.analysis.tables import figures_table, questions_table
from qmix_jax.errors import RunError
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.page import block_html, blocks, html_table, picture
from qmix_jax.reports.report import report_findings, report_run
from qmix_jax.reports.tasks import sweep_blocks, task_blocks
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import read_json
from qmix_jax.storage.hparams import describe_run, write_hparams
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS
from qmix_jax.training.environments import make_environment

SCORES = ("env_steps", "mean_return", "optimality", "solved", "mean_length")

MARKDOWN = """\
# 2 runs of 160 environment steps

`qmix-jax sweep --grid lr=*,<1>` on **GridWorld25v0**; *fast*.

| settings | final return |
| --- | --- |
| lr=0.1 | -5.0 [-5.1, -4.9] |

![Learning curves](curves.png)
"""


def draw(path):
    Image.new("RGB", (1200, 700), "white").save(path)
    return base64.b64encode(path.read_bytes()).decode()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run's folder with its page, and the picture in it."""
    run = save_run(tmp_path_factory.mktemp("report"))
    rows = [",".join(DIAGNOSTIC_COLUMNS), "40,7,1.5,,,2.25,,,,2", "80000,9,0.5,,,,,,,2"]
    (run / "diagnostics_log.csv").write_text("\n".join(rows) + "\n")
    png = draw(run / "training_plots.png")
    hparams = read_json(run / "configs" / "hparams.json")
    hparams["derived"]["environment_state"] = {"state.enemy_policy_state.last_attacked_enemy": "int32[3]"}
    write_hparams(run / "configs" / "hparams.json", hparams)
    with pytest.MonkeyPatch.context() as patch, quick_compilation():
        patch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
        assert report.main([str(run), "--episodes", "3"]) == 0
    return run, png


def test_a_runs_page_has_all_its_parts(written):
    run, png = written
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "{{" not in re.sub(r'srcdoc="[^"]*"', "", page)
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Evaluation",
        "Learning curves",
        "Diagnostics",
        "Replays",
        "Settings",
        "Machine",
    ]
    for row in ("return", "optimality", "success rate", "length", "foods collected"):
        value = r"<div><span>-?[0-9.]+( %)?<small>-?[0-9.]+ to -?[0-9.]+</small></span></div></td>"
        assert re.search(rf'<th scope="row">{row}</th><td data-label="policy">{value}', page)
    assert '<th scope="col">greedy nearest</th>' in page
    assert page.count(png) == 1
    assert "diagnostics_plots.png was not drawn." in page
    assert "<dt>q value</dt><dd>1.5</dd>" in page  # of the last row that is as full as any
    assert "<div class=marked><dt>skipped</dt><dd>2</dd>" in page
    assert "<div class=marked><dt>num_envs</dt><dd>4</dd>" in page
    assert "<div><dt>seed</dt><dd>0</dd>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is fetched
    replay = unescape(re.search(r'srcdoc="([^"]*)"', page)[1])
    assert replay.startswith("<!doctype html>")
    assert '"episodes":[{"number":0' in replay


def test_findings_keep_their_marks_tables_and_pictures(tmp_path):
    (tmp_path / "sweep.md").write_text(MARKDOWN)
    png = draw(tmp_path / "curves.png")
    assert report.main([str(tmp_path), "--output", str(tmp_path / "out.html")]) == 0
    page = (tmp_path / "out.html").read_text()
    assert "<title>2 runs of 160 environment steps</title>" in page
    assert "<code>qmix-jax sweep --grid lr=*,&lt;1&gt;</code> on <b>GridWorld25v0</b>; <em>fast</em>." in page
    cell = '<td data-label="final return"><div><span>-5.0<small>[-5.1, -4.9]</small></span></div></td>'
    assert f'<th scope="row">lr=0.1</th>{cell}' in page
    assert png in page


def test_pictures_outside_the_folder_are_not_read():
    assert blocks("a\nb\n\n\nc\n") == ["a\nb", "c"]
    assert block_html("![x](../secret.png)", lambda name, text: "read") == "<p>![x](../secret.png)</p>"
    assert block_html("![x](curves.png)", lambda name, text: f"{name} {text}") == "curves.png x"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "results/run_<i>: must be given"),
        (["{run}/none"], "/none: must be the folder of a run, with configs/hparams.json"),
        (["{run}/sweep"], "/sweep: must hold sweep.md, which a sweep writes at its end"),
        (["{run}", "--episodes", "0"], "--episodes 0: must be a whole number, at least 1"),
        (["{run}", "--output", "{run}/none/a.html"], "/none does not"),
        (["{run}", "--checkpoint", "ep5"], "--checkpoint ep5: must be one of final, best, ep0, ep4, ep8"),
        (["{run}", "{run}/sweep"], "/sweep: must hold runs, but none has begun"),
        (["{run}", "{run}/models"], "/models: must be the folder of a run, with configs/hparams.json"),
        (["{run}", "--marl_eval", "{run}/none/a.json"], "/none does not"),
        (["{run}", "--output", "out.html", "--pages", "2"], "--pages: unknown flag"),
    ],
)
def test_bad_input_is_one_line(written, capsys, monkeypatch, flags, message):
    run, _ = written
    (run / "sweep" / "configs").mkdir(parents=True, exist_ok=True)
    (run / "sweep" / "configs" / "sweep.json").write_text("{}")
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    before = listing(run)
    assert report.main([flag.format(run=run) for flag in flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert listing(run) == before


def test_damaged_findings_are_said(tmp_path):
    (tmp_path / "sweep.md").write_bytes(b"")
    with pytest.raises(RunError, match=r"sweep.md does not hold findings"):
        report_findings(tmp_path / "sweep.md", ReportOptions())
    with pytest.raises(RunError, match=r"none.md does not hold findings"):
        report_findings(tmp_path / "none.md", ReportOptions())
    run = save_run(tmp_path)
    shutil.rmtree(run / "models" / "final_model")
    with pytest.raises(ValueError, match="--checkpoint final: must be one of best, ep0"):
        report_run(RunDirectory(Path(run)), ReportOptions())


def test_values_between_semicolons_have_their_own_intervals():
    (cell,) = re.findall("<td.*</td>", html_table([["", "b"], ["a", "0% [0%, 1%]; 2.5 [2.0, 3.0]; 7 (1 diverged)"]]))
    parts = ["0%<small>[0%, 1%]</small>", "2.5<small>[2.0, 3.0]</small>", "7<small>1 diverged</small>"]
    assert cell == f'<td data-label="b"><div>{"".join(f"<span>{part}</span>" for part in parts)}</div></td>'


def test_pictures_are_shown_in_the_size_they_were_drawn_in(tmp_path):
    Image.new("RGB", (1300, 400)).save(tmp_path / "dense.png", dpi=(200, 200))
    Image.new("RGB", (650, 200)).save(tmp_path / "plain.png", dpi=(100, 100))
    for name in ("dense.png", "plain.png"):
        assert ' width="650" ' in picture(tmp_path / name, "")
    (tmp_path / "damaged.png").write_bytes(b"x")
    for name in ("damaged.png", "missing.png"):
        assert picture(tmp_path / name, "") == f'<p class="hint">{name} was not drawn.</p>'


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Four runs that were started one by one, with two learning rates, two of them alike, and their page."""
    folder = tmp_path_factory.mktemp("alone")
    for number, (lr, seed, score) in enumerate([(1e-3, 0, 0.2), (1e-3, 1, 0.4), (3e-3, 7, 0.8), (3e-3, 7, 0.9)], 1):
        run = save_logs(folder / f"run_{number}", [0.1, score])
        config = replace(CONFIG, lr=lr, seed=seed, report=number == 1)
        write_hparams(run.hparams, describe_run(config, make_environment(config)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
        patch.setattr("qmix_jax.reports.runs.play_random", lambda config: 0.0)
        runs = [str(folder / f"run_{number}") for number in (1, 2, 3, 4)]
        assert report.main(["--episodes", "3", *runs, runs[0]]) == 0
    return folder / "report.html"


def test_runs_started_one_by_one_are_grouped_by_what_differs(alone):
    page = alone.read_text(encoding="utf-8")
    assert "<title>4 runs</title>" in page
    assert re.findall(r'<th scope="row">(lr=\S+)</th><td data-label="runs"><div><span>(\d)', page) == [
        ("lr=0.003", "2"),
        ("lr=0.001", "2"),
    ]
    assert "fewer than 5 seeds" in page
    rows = re.findall(r'<th scope="row">(run_\d)</th>.*?<span>(lr=\S+)</span>.*?<span>(\d)</span>', page)
    assert [run for run, _, _ in rows] == ["run_3", "run_4", "run_1", "run_2"]
    assert [name for _, name, _ in rows] == ["lr=0.003"] * 2 + ["lr=0.001"] * 2
    assert [seed for _, _, seed in rows] == ["7", "7", "0", "1"]
    assert "run_3, run_4: the same settings and seed" in page
    assert page.count("the same settings and seed") == 1
    assert page.count('src="data:image/png') == 2


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A sweep's folder with two algorithms on two layouts, and a run of one of them that was started by hand."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "sweep_1" / "configs").mkdir(parents=True)
    (folder / "sweep_1" / "configs" / "sweep.json").write_text("{}")
    groups = [("qmix", 1), ("vdn", 1), ("qmix", 5), ("vdn", 5)]
    for number, (algorithm, layout) in enumerate(groups):
        for seed in range(11 if number == 0 else 2):
            path = folder / "sweep_1" / f"point_{number}" / f"seed_{seed}"
            save(path, [0.1, 0.6 + 0.1 * seed % 0.2 + 0.15 * (algorithm == "qmix")], algorithm, layout, seed)
    save(folder / "run_1", [0.1, 0.5], "vdn", 5, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
        patch.setattr("qmix_jax.reports.runs.play_random", lambda config: 0.0)
        assert report.main([str(folder / "sweep_1"), str(folder / "run_1")]) == 0
    return folder / "report.html"


def save(path, scores, algorithm, layout, seed):
    config = replace(CONFIG, algorithm=algorithm, layout_seed=layout, seed=seed)
    write_hparams(save_logs(path, scores).hparams, describe_run(config, make_environment(config)))


def test_runs_on_several_tasks_are_compared_over_all_of_them(several):
    page = several.read_text(encoding="utf-8")
    assert "<title>18 runs on 2 tasks</title>" in page
    overall = re.findall(r'<th scope="row">(\S+)</th><td data-label="runs"><div><span>(\d+)', page)
    assert overall == [("algorithm=qmix", "13"), ("algorithm=vdn", "5")]
    better = 'data-label="algorithm=vdn"><div><span>100%<small>[100%, 100%]</small>'
    assert (
        f'<th scope="row">algorithm=qmix</th><td data-label="algorithm=qmix"><div><span>-</span></div></td><td {better}'
        in page
    )
    assert re.findall(r'<th scope="row">(layout_seed=\d)</th>', page) == ["layout_seed=1", "layout_seed=5"]
    rows = re.findall(r'<th scope="row">(sweep_1/point_\d/seed_\d+|run_1)</th>', page)
    assert rows[:3] + rows[9:12] == [f"sweep_1/point_0/seed_{seed}" for seed in (0, 1, 2, 9, 10)] + [
        "sweep_1/point_2/seed_0"
    ]
    assert "fewer than 5 seeds" in page
    assert page.count('src="data:image/png') == 1


def test_tasks_that_not_all_groups_were_trained_on_are_apart(tmp_path):
    records = [read_record(group, 0, save_logs(tmp_path / f"{i}", [0.5])) for i, group in enumerate("aba")]
    blocks = task_blocks(tmp_path, "title", "group", records, ["1", "1", "2"])
    assert blocks[0] == "**Warning**: not every group has runs on 2; only other tasks are compared."
    assert blocks[-1].splitlines()[-2:] == ["| 1 | 0.500 | 0.500 |", "| 2 | 0.500 | - |"]
    blocks = task_blocks(tmp_path, "title", "group", records[:2], ["1", "2"])
    assert blocks[0].startswith("**Warning**: not every group has runs on 1, 2; ")
    assert blocks[1:] == [
        "## Task by task",
        "| task | a | b |\n| --- | --- | --- |\n| 1 | 0.500 | - |\n| 2 | - | 0.500 |",
    ]


def test_a_sweeps_page_has_its_tasks_together_or_the_best_groups(tmp_path):
    configs = [replace(CONFIG, lr=lr, layout_seed=layout) for layout in (1, 3) for lr in (0.1, 0.2) for _ in range(2)]
    points = [f"lr={config.lr} layout_seed={config.layout_seed}" for config in configs]
    records = [read_record(name, 0, save_logs(tmp_path / f"{i}", [0.1 * i])) for i, name in enumerate(points)]
    found = sweep_blocks(tmp_path, "title", records, configs, [])
    assert found[0] == "## 2 tasks together"
    assert found[1].splitlines()[2:] == [
        "| lr=0.2 | 4 | 0.450 [0.400, 0.500] |",
        "| lr=0.1 | 4 | 0.250 [0.200, 0.300] |",
    ]
    assert (tmp_path / "tasks.png").stat().st_size > 10_000
    found = sweep_blocks(tmp_path, "title", records[:4], configs[:4], points[2:0:-1])
    assert found[:1] == ["## Probability of improvement"]
    assert found[1].splitlines()[2].startswith("| lr=0.2 layout_seed=1 | - | 100% ")
    assert sweep_blocks(tmp_path, "title", records[1:4], configs[1:4], points[1:3]) == []  # a group of one run


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The page of a comparison as wide as any: eleven columns, and a picture of 13 inches."""
    folder = tmp_path_factory.mktemp("compared")
    group = [RunRecord("qmix", 0, {name: np.array([0.5]) for name in SCORES}, 0.0, 12_345.0, 1_000, 7, False)] * 5
    summaries = [summarise_group(group, "optimality", 47_037)] * 3
    tables = [figures_table("algorithm", summaries), questions_table(summaries, None)]
    Image.new("RGB", (2600, 1120), "white").save(folder / "curves.png", dpi=(200, 200))
    text = "\n\n".join(["# A comparison", *tables, "![Learning curves](curves.png)"])
    (folder / "comparison.md").write_text(text)
    report_findings(folder / "comparison.md", ReportOptions())
    return folder / "report.html"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 768, 900, 1280, 1920])
@pytest.mark.parametrize("name", ["alone", "several", "compared"])
def test_nothing_is_cut(browser, request, name, width):
    resize(browser, width, 800)
    browser.get(request.getfixturevalue(name).as_uri())
    assert too_wide(browser) == []
    assert browser.find_element("css selector", "thead").is_displayed() == (width >= 900)
    for image in browser.find_elements("tag name", "img"):
        shown, drawn = image.size["width"], int(image.get_attribute("width"))
        assert shown <= drawn <= int(image.get_attribute("naturalWidth")) / 2
        assert shown >= min(drawn, 0.8 * width)


@pytest.mark.browser
def test_it_is_dark_where_the_system_is(browser, alone):
    brightness = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get(alone.as_uri())
        for part in ("body", "section"):
            color = browser.find_element("css selector", part).value_of_css_property("background-color")
            brightness[scheme, part] = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
        ink = browser.find_element("tag name", "body").value_of_css_property("color")
        brightness[scheme, "ink"] = sum(map(int, re.findall(r"\d+", ink)[:3])) / 3
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert all(brightness["light", part] > 240 > 40 > brightness["dark", part] for part in ("body", "section"))
    assert brightness["dark", "ink"] > 220 > 40 > brightness["light", "ink"]


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_it_fits_the_screen_and_logs_nothing(browser, written, width):
    run, _ = written
    resize(browser, width, 800)
    browser.get((run / "report.html").as_uri())
    assert too_wide(browser) == []
    frame = browser.find_element("tag name", "iframe")
    assert frame.size["height"] > 700
    browser.switch_to.frame(frame)
    assert too_wide(browser) == []
    assert not browser.find_element("id", "scores").is_displayed()  # the report has them already
    assert browser.find_element("id", "status").text.startswith("Episode ")
    browser.switch_to.default_content()
    assert browser.get_log("browser") == []
    assert np.all([image.size["width"] >= 0.5 * width for image in browser.find_elements("tag name", "img")])
