"""Figures, tables, merged CSV and curves of runs that were never trained: their logs are written here."""

import csv
import struct

import numpy as np
import pytest
from finished_run import DIAGNOSTICS, save_run
from matplotlib.figure import Figure
from PIL import Image

from qmix_jax.analysis.curves import make_bands, plot_curves, scale_scores, training_seconds, training_steps
from qmix_jax.analysis.run_record import (
    has_diverged,
    has_ended,
    has_finished,
    read_record,
    score_name,
    write_evaluations,
)
from qmix_jax.analysis.stats import FEWEST_SEEDS, Estimate, estimate
from qmix_jax.analysis.summary import Summary, rank, summarise_group, write_summary
from qmix_jax.analysis.tables import few_seeds, figures_table, questions_table, seeds_table, some_skipped
from qmix_jax.storage.directory import make_run_directory

NAN = float("nan")


def read(group, seed, run, random_return=0.0):
    return read_record(group, seed, run)._replace(random_return=random_return)


@pytest.fixture
def records(tmp_path):
    """Two seeds of 'a', and three of 'b', one of which diverged after its second evaluation."""
    runs = {
        ("a", 0): save_run(tmp_path / "a0", [0.0, 0.5, 1.0]),
        ("a", 1): save_run(tmp_path / "a1", [0.0, 1.0, 0.9]),
        ("b", 0): save_run(tmp_path / "b0", [0.1, 0.2, 0.2], seconds_per_chunk=4.0),
        ("b", 1): save_run(tmp_path / "b1", [0.1, 0.5], model="diverged_ep7"),
        ("b", 2): save_run(tmp_path / "b2", [0.1, 0.3, 0.2]),
    }
    return [read(*name, run) for name, run in runs.items()]


def of(records, group):
    return [record for record in records if record.group == group]


def test_what_has_ended_and_how(tmp_path):
    run = make_run_directory(tmp_path, "--run_directory")
    assert not has_finished(run)
    assert not has_diverged(run)
    (run.models / "diverged_ep9").mkdir()
    assert has_diverged(run)
    assert has_ended(run)
    (run.models / "final_model").mkdir()  # resumed with more patience
    run.diagnostics_log.write_text(DIAGNOSTICS)  # before its first chunk
    assert has_finished(run)
    assert not has_diverged(run)


@pytest.mark.parametrize(("skipped", "diverged"), [(6, False), (7, True)])
def test_a_run_that_skipped_more_than_a_tenth_of_its_updates_has_ended_and_diverged(tmp_path, skipped, diverged):
    run = save_run(tmp_path / "run", [0.5, 0.6, 0.7], skipped=skipped)
    assert has_ended(run)
    assert has_diverged(run) == diverged
    record = read("a", 0, run)
    assert (record.updates, record.skipped, record.diverged) == (60, skipped, diverged)
    row = summarise_group([record], "optimality", 10)
    assert (row.diverged, row.updates, row.skipped, row.kept) == (diverged, 60, skipped, not diverged)


def test_a_record_knows_when_evaluations_were_made_and_how_fast(records):
    first = records[0]
    np.testing.assert_array_equal(first.evaluations["env_steps"], [200, 400, 600])
    np.testing.assert_array_equal(first.evaluations["seconds"], [14, 18, 22])
    assert (first.started, first.steps_per_second, first.diverged) == (12.0, 50.0, False)
    np.testing.assert_array_equal(training_seconds(first), [2, 6, 10])
    assert records[2].steps_per_second == 25.0
    assert records[3].diverged


def test_a_run_that_had_to_end_before_its_first_evaluation(tmp_path):
    empty = read("a", 0, save_run(tmp_path / "empty", [], model="diverged_ep0"))
    assert np.isnan(empty.steps_per_second)
    row = summarise_group([empty], "optimality", 10)
    assert (row.runs, row.diverged) == (1, 1)
    assert np.isnan([row.final_return.value, row.mean_score.value, row.steps_to_near_best.value, row.kept]).all()


def test_what_gained_nothing_on_random_actions_is_not_praised(tmp_path):
    """Evaluations of -0.0003 throughout once had '8,576 steps to 90 % of its best', 'kept 100 %' and 'range 0'."""
    flat = [read("a", seed, save_run(tmp_path / f"flat{seed}", [-0.0003] * 3), 0.02) for seed in range(2)]
    row = summarise_group(flat, "optimality", 10)
    assert row.random_return == 0.02
    assert np.isnan([row.steps_to_near_best.value, row.kept, row.score_range]).all()
    assert figures_table("algorithm", [row]).endswith(
        "| 0.020 | 0.000 [0.000, 0.000] | 0% [0%, 0%] | - | - | - | 50 [50, 50] | 10 |"
    )
    learned = [read("a", seed, save_run(tmp_path / f"good{seed}", [0.0, 0.5, 1.0]), 0.02) for seed in range(2)]
    row = summarise_group([*learned, flat[0]], "optimality", 10)  # which counts as worse than the others
    assert (row.steps_to_near_best.value, row.kept) == (np.inf, 2 / 3) or np.isnan(row.steps_to_near_best.value)
    assert row.kept == pytest.approx(2 / 3)


def test_how_near_the_best_is_does_not_depend_on_where_returns_begin(tmp_path):
    returns = np.array([0.0, 0.4, 0.91, 1.0, 0.96])
    for number, offset in enumerate((-10.0, -1.0, 0.0, 5.0)):
        record = read("a", 0, save_run(tmp_path / str(number), offset / 2 + returns / 2), offset)
        row = summarise_group([record], "mean_return", 10)
        assert (row.steps_to_near_best.value, row.kept) == (600.0, 1.0)


def test_groups_rank_by_return_and_those_that_diverged_come_last(tmp_path):
    def record(name, optimality, **settings):
        return read("a", 0, save_run(tmp_path / name, optimality, **settings))

    good, better = record("good", [0.5]), record("better", [0.7])
    diverged = record("diverged", [0.9], model="diverged_ep7")
    skipping = record("skipping", [0.8], skipped=10)
    empty = record("empty", [], model="diverged_ep0")
    groups = [[empty], [skipping], [good], [diverged], [better]]
    assert sorted(groups, key=rank, reverse=True) == [[better], [good], [diverged], [skipping], [empty]]


def test_the_merged_table_has_a_row_for_each_evaluation(tmp_path, records):
    write_evaluations(tmp_path / "merged.csv", "algorithm", records)
    with (tmp_path / "merged.csv").open() as file:
        rows = list(csv.reader(file))
    names = ["env_steps", "seconds", "mean_return", "optimality", "solved", "mean_length"]
    assert rows[0] == ["algorithm", "seed", *names, "foods_collected"]
    assert rows[1] == ["a", "0", "200", "14", "0", "0", "0", "49", "0"]
    assert rows[2] == ["a", "0", "400", "18", "1", "0.5", "0.5", "48", "2"]
    assert [row[:3] for row in rows[10:12]] == [["b", "1", "200"], ["b", "1", "400"]]
    assert len(rows) == 1 + 14


def test_figures_of_two_seeds(records):
    row = summarise_group(of(records, "a"), "optimality", 1234)
    assert (row.group, row.runs, row.diverged, row.parameters) == ("a", 2, 0, 1234)
    assert row.final_return == pytest.approx((1.9, 1.8, 2.0))  # 2.0 and 1.8
    assert row.optimality == pytest.approx((0.95, 0.9, 1.0))
    assert row.solved.value == pytest.approx(0.95)
    assert row.mean_length == (47.0, 47.0, 47.0)
    assert row.mean_score == pytest.approx(((0.5 + 1.9 / 3) / 2, 0.5, 1.9 / 3))
    assert row.steps_to_near_best == (500.0, 400.0, 600.0)  # 600 and 400
    assert row.score_range == pytest.approx(0.05)  # half of their distance
    assert row.kept == 0.5  # 0.9 is 10 % below 1.0
    assert row.steps_per_second == (50.0, 50.0, 50.0)
    assert np.isnan(row.advantage.value)


def test_a_diverged_run_counts_with_what_it_left(records):
    row = summarise_group(of(records, "b"), "optimality", 10, reference=of(records, "a"))
    assert (row.runs, row.diverged) == (3, 1)
    assert row.optimality.value == pytest.approx(0.3)  # of 0.2, 0.5, 0.2
    assert row.advantage.value == pytest.approx(0.3 - 0.95)
    assert row.mean_score.value == pytest.approx((0.5 + 1.1 + 0.6) / 9)  # 0.5 stands for its third evaluation
    assert row.kept == pytest.approx(1 / 3)  # b0; b2 lost a third, b1 diverged
    assert np.isnan(summarise_group(of(records, "a"), "optimality", 10, reference=of(records, "a")).advantage.value)


def test_negative_returns_have_a_best_too(tmp_path):
    record = read("a", 0, save_run(tmp_path / "run", [-3.0, -1.06, -1.0, -1.04]), -10.0)
    row = summarise_group([record], "mean_return", 10)  # -6, -2.12, -2, -2.08
    assert row.steps_to_near_best.value == 400.0
    assert row.kept == 1.0


def test_the_return_is_the_score_where_optimality_is_unknown(tmp_path, records):
    blind = read_record("c", 0, save_run(tmp_path / "c0", [NAN, NAN]))
    assert score_name(records) == "optimality"
    assert score_name([*records, blind]) == "mean_return"
    assert np.isnan(summarise_group([blind], "mean_return", 10).optimality.value)


def test_summaries_as_csv(tmp_path, records):
    write_summary(
        tmp_path / "s.csv", "algorithm", [summarise_group(of(records, group), "optimality", 10) for group in "ab"]
    )
    with (tmp_path / "s.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["algorithm"], first["runs"], first["parameters"]) == ("a", "2", "10")
    assert (first["optimality"], first["optimality_low"], first["optimality_high"]) == ("0.95", "0.9", "1")
    assert (second["diverged"], second["kept"], second["advantage"]) == ("1", "0.3333333", "")


def summary(**figures):
    nothing = Estimate(NAN, NAN, NAN)
    return Summary(**dict.fromkeys(Summary._fields, nothing) | figures)


def test_tables_say_what_is_unknown():
    row = summary(
        group="vdn",
        runs=5,
        diverged=1,
        updates=4500,
        skipped=12,
        final_return=Estimate(-0.0001, NAN, NAN),
        random_return=-2.5,
        optimality=Estimate(0.95, 0.9, NAN),
        solved=Estimate(0.5, 0.25, 1.0),
        steps_to_near_best=Estimate(12345.6, 1000.0, 20000.0),
        score_range=NAN,
        kept=0.8,
        parameters=7629,
    )
    table = figures_table("algorithm", [row]).splitlines()
    assert table[0].count("|") == table[1].count("|") == table[2].count("|") == 12
    assert table[2] == (
        "| vdn | 5 (1 diverged, 12 of 4,500 updates skipped) | 0.000 | -2.500 | 0.950 [0.900, -] | 50% [25%, 100%] "
        "| 12,346 [1,000, 20,000] | - | 80% | - | 7,629 |"
    )
    undefined = row._replace(solved=Estimate(NAN, NAN, NAN))
    assert "success rate" in table[0]
    assert "success rate" not in figures_table("algorithm", [undefined])
    assert "| steps of an episode |" in questions_table([undefined], "iql")
    questions = questions_table([row], "iql").splitlines()
    assert questions[2] == "| value decomposition | final score, minus that of iql | - |"
    assert questions[3].endswith("| 50% [25%, 100%]; - |")
    assert [line.split(" | ")[0] for line in questions[4:]] == ["| stability", "| sample efficiency", "| complexity"]
    assert questions_table([row], None).splitlines()[2] == "| value decomposition | final return | 0.000 |"


def test_fewer_than_five_seeds_are_few():
    assert few_seeds(4).startswith("fewer than 5 seeds: ")
    assert few_seeds(5) is None


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_of_fewer_than_five_seeds_the_interval_is_from_the_lowest_to_the_highest(seeds):
    values = np.arange(seeds) ** 2.0
    found = estimate(values)
    assert (found[1:] == (values[0], values[-1])) == (seeds < FEWEST_SEEDS)


def test_skipped_updates_are_named_with_their_runs(tmp_path):
    runs = [save_run(tmp_path / str(seed), [0.5] * 50, skipped=seed) for seed in range(6)]
    records = [read("qmix", seed, run) for seed, run in enumerate(runs)]
    assert some_skipped(records[:1]) is None
    assert some_skipped(records).startswith(
        "15 of 6,000 updates skipped, because they were not finite, in 5 of 6 runs "
        "(qmix, seed 1; qmix, seed 2; qmix, seed 3 and 2 more): "
    )
    assert "| 5 | 1.000 | 0.500 | 50% | 0.0 | 0.000 | 5 of 1,000 |" in seeds_table(records)


def test_curves_stand_on_common_points(records):
    bands = make_bands(records, "optimality", training_steps)
    assert list(bands) == ["a", "b"]
    np.testing.assert_array_equal(bands["b"].x, [200, 400, 600])
    np.testing.assert_allclose(bands["b"].value, [0.1, 1 / 3, 0.3])  # the diverged run's 0.5 stands
    by_time = make_bands(records, "optimality", training_seconds)["b"]
    # b0 needs twice the others' time: 4, 12, 20 seconds for 2, 6, 10; b1 has diverged before the last.
    np.testing.assert_allclose(by_time.x, [(4 + 2 + 2) / 3, (12 + 6 + 6) / 3, (20 + 10) / 2])
    np.testing.assert_array_equal(by_time.value, bands["b"].value)


def test_a_curve_against_time_never_turns_back(tmp_path):
    runs = [
        save_run(tmp_path / "slow", [0.1, 0.2], model="diverged_ep7", seconds_per_chunk=40.0),
        save_run(tmp_path / "quick", [0.1, 0.3, 0.5]),
    ]
    band = make_bands([read("a", seed, run) for seed, run in enumerate(runs)], "optimality", training_seconds)["a"]
    np.testing.assert_allclose(band.x, [(40 + 2) / 2, (120 + 6) / 2, (120 + 6) / 2])  # the quick run ends after 10


@pytest.mark.parametrize("groups", [1, 9])
def test_a_readable_picture(tmp_path, records, groups):
    many = [record._replace(group=f"group {number}") for number in range(groups) for record in of(records, "b")]
    plot_curves(tmp_path / "curves.png", "title", many, "optimality")
    content = (tmp_path / "curves.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (2600, 1120)
    assert 10_000 < len(content) < 1_000_000


@pytest.mark.parametrize(
    ("shares", "low", "high"), [([0.0, -1e-9], -0.03, 1.05), ([1.0], -0.03, 1.055), ([], -0.03, 1.05)]
)
def test_equal_scores_are_drawn_on_the_whole_scale(shares, low, high):
    axes = Figure().subplots()
    axes.plot(shares)
    scale_scores(axes, "optimality")
    np.testing.assert_allclose(axes.get_ylim(), (low, high), atol=0.03)
    assert axes.yaxis.get_major_formatter()(0.5) == "50%"


def test_close_scores_are_told_apart():
    axes = Figure().subplots()
    axes.plot([0.97, 0.98])
    scale_scores(axes, "optimality")
    assert np.ptp(axes.get_ylim()) < 0.02


def test_long_names_are_not_cut(tmp_path, records):
    names = [f"lr=0.0003 gamma={number} hidden_sizes=128x128" for number in range(6)]
    many = [record._replace(group=name) for name in names for record in of(records, "b")]
    plot_curves(tmp_path / "curves.png", "title", many, "optimality", wall_time=False)
    with Image.open(tmp_path / "curves.png") as image:
        edges = np.asarray(image.convert("L"))[:, [0, -1]]
    assert (edges == 255).all()


def test_a_picture_of_runs_without_evaluations(tmp_path):
    empty = read_record("a", 0, save_run(tmp_path / "empty", []))
    plot_curves(tmp_path / "curves.png", "title", [empty], "mean_return")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
