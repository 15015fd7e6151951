"""The report: one page of a run, of random numbers here, and of what a sweep or a comparison found."""

import base64
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from helpers import quick_compilation, resize
from PIL import Image
from saved_run import listing, save_run

from qmix_jax import report
from qmix_jax.errors import RunError
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.page import block_html, blocks
from qmix_jax.reports.report import report_findings, report_run
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS

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
        assert re.search(rf'<th scope="row">{row}</th><td>-?[0-9.]+( %)? \(', page)
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
    assert '<th scope="row">lr=0.1</th><td>-5.0 [-5.1, -4.9]</td>' in page
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
        (["{run}", "{run}"], "unexpected value; there is one folder"),
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


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_it_fits_the_screen_and_logs_nothing(browser, written, width):
    run, _ = written
    resize(browser, width, 800)
    browser.get((run / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    frame = browser.find_element("tag name", "iframe")
    assert frame.size["height"] > 700
    browser.switch_to.frame(frame)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.find_element("id", "status").text.startswith("Episode ")
    browser.switch_to.default_content()
    assert browser.get_log("browser") == []
    assert np.all([image.size["width"] >= 0.5 * width for image in browser.find_elements("tag name", "img")])
