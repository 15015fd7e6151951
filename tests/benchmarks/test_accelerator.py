"""The benchmark of accelerators runs in small, survives rows that fail, and counts what it says it counts."""

import json
import os
import sys
import time

import accelerator
import jax
import jax.numpy as jnp
import pytest
from counting import count_layers
from hlo import count_kernels, count_unknown_loops
from measuring import number, spread
from processes import run_within

from qmix_jax.config import Config
from qmix_jax.training.environments import make_environment


def test_it_runs_in_small(tmp_path, monkeypatch, capsys):
    """The environment fails here, as if it did not fit into memory: a row that says so, and the others follow."""

    def fail(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory | while\ntrying to allocate 1 byte")

    monkeypatch.setattr(accelerator, "jax_steps", fail)
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--quick", "--output", str(tmp_path)])
    accelerator.main()
    printed = capsys.readouterr()
    folder = tmp_path / "cpu"
    text, figures = (folder / "accelerator.md").read_text(), json.loads((folder / "accelerator.json").read_text())
    assert printed.out.strip() == text.strip()
    assert [line.split(":")[0] for line in printed.err.splitlines()] == [
        "device",
        "training/default",
        "update/default",
        "environment/64",
        "training/default, 2 seeds",
    ]
    assert (folder / "accelerator.png").stat().st_size > 1_000

    assert figures["device"]["platform"] == "cpu"
    assert figures["machine"]["jax"] == jax.__version__
    for name in ("product_default", "product_highest", "copy"):
        assert figures["ceilings"][name]["per_second"][0] > 0
    one, two = figures["training"].values()
    assert two["state_mib"] == pytest.approx(2 * one["state_mib"], rel=0.01)
    assert all(row["updates_per_second"][0] > 0 and row["peak_memory_mib"] > 1 for row in (one, two))
    update = figures["update"]["default"]
    assert update["operations"] > 1_000
    assert update["bytes"] > 1_000
    assert figures["environment"]["64"] == {"error": "RuntimeError: RESOURCE_EXHAUSTED: Out of memory | while"}

    assert f"| {number(one['kernels'])} |" in text
    assert one["kernels"] > 20
    assert "| 64 environments | RuntimeError: RESOURCE_EXHAUSTED: Out of memory / while |" in text


def test_shares_of_the_device():
    """An update of 2 ms with 3 million operations and 5 MB, on a device that makes 3 GFLOP/s and 10 GB/s."""
    rates = {"product_default": {"per_second": spread([3e9])}, "copy": {"per_second": spread([10e9])}}
    training = {"default": {"update_seconds": spread([2e-3])}, "random": {"error": "out of memory"}}
    counted = {"operations": 3e6, "bytes": 5e6}
    figures = {"ceilings": rates, "training": training, "update": {"default": {**counted}, "random": {**counted}}}
    accelerator.add_shares(figures)
    shares = {"share_of_products": pytest.approx(0.5), "share_of_bandwidth": pytest.approx(0.25)}
    assert figures["update"] == {"default": {**counted, **shares}, "random": counted}


def test_rows_in_processes_of_their_own():
    """A row's result comes back; an exception, the end of its process and its time are one line each."""
    assert run_within(60, sum, [1, 2]) == 3
    for function, arguments, error in (
        (int, ("x",), "ValueError: invalid literal for int"),
        (os._exit, (7,), "its process ended with exit status 7"),
    ):
        with pytest.raises(RuntimeError, match=error):
            run_within(60, function, *arguments)
    started = time.perf_counter()
    with pytest.raises(TimeoutError, match="not finished after 1 s"):
        run_within(1, time.sleep, 60)
    assert time.perf_counter() - started < 30


def test_rows_after_the_time_is_over(monkeypatch):
    monkeypatch.setattr(accelerator, "run_within", None)  # nothing is started
    options = accelerator.Options(False, 1, 0.0, time.perf_counter)
    figures = accelerator.measure(accelerator._QUICK_SIZES, options, minutes=0)
    assert figures["update"]["default"] == {"error": "TimeoutError: not begun within 0 minutes"}
    text = accelerator.describe({"commit": "abc", "cpu_time": False, **figures})
    assert text.count("not begun within 0 minutes") == 5


def test_operations_of_an_update():
    """XLA's count is the products, counted by hand, and a little; it counts a loop's body once."""
    config = Config(num_envs=8, hidden_sizes=(512, 512))
    products = sum(layer.total for layer in count_layers(config, make_environment(config).spec))
    operations = accelerator.lower_update(config).cost_analysis()["flops"]
    assert products < operations < 1.1 * products

    def loop(matrix):
        return jax.lax.fori_loop(0, 5, lambda _, x: x @ x, matrix)

    assert jax.jit(loop).lower(jnp.ones((64, 64))).cost_analysis()["flops"] == pytest.approx(2 * 64**3, abs=10)


HLO = """HloModule jit_program

%fused_computation (param_0: s32[]) -> s32[] {
  %param_0 = s32[] parameter(0)
  ROOT %add = s32[] add(%param_0, %param_0)
}

%body.1 (carry: (s32[], f32[9])) -> (s32[], f32[9]) {
  %carry = (s32[], f32[9]{0}) parameter(0)
  %count = s32[] get-tuple-element(%carry), index=0
  %x = f32[9]{0} get-tuple-element(%carry), index=1
  %next = s32[] fusion(%count), kind=kLoop, calls=%fused_computation
  %sorted = f32[9]{0} sort(%x), dimensions={0}, to_apply=%less
  ROOT %result = (s32[], /*index=1*/f32[9]{0}) tuple(%next, %sorted)
}

%condition.1 (carry: (s32[], f32[9])) -> pred[] {
  %carry = (s32[], f32[9]{0}) parameter(0)
  %count = s32[] get-tuple-element(%carry), index=0
  %five = s32[] constant(5)
  ROOT %less = pred[] compare(%count, %five), direction=LT
}

%branch.1 (carry: (f32[9])) -> (f32[9]) {
  %carry = (f32[9]{0}) parameter(0)
  %x = f32[9]{0} get-tuple-element(%carry), index=0
  %copy = f32[9]{0} copy(%x)
  ROOT %result = (f32[9]{0}) tuple(%copy)
}

%branch.2 (carry: (f32[9])) -> (f32[9]) {
  ROOT %carry = (f32[9]{0}) parameter(0)
}

ENTRY %main (x: f32[9], count: s32[]) -> (s32[], f32[9]) {
  %x = f32[9]{0} parameter(0)
  %count = s32[] parameter(1)
  %start = (s32[], f32[9]{0}) tuple(%count, %x)
  %known = (s32[], f32[9]{0}) while(%start), condition=%condition.1, body=%body.1, backend_config={KNOWN}
  %unknown = (s32[], f32[9]{0}) while(%known), condition=%condition.1, body=%body.1
  %called = (s32[], f32[9]{0}) call(%unknown), to_apply=%body.1
  ROOT %chosen = (f32[9]{0}) conditional(%count, %called, %called), branch_computations={%branch.1, %branch.2}
}
"""


def test_kernels_of_a_program():
    """Loops count as often as they iterate, called computations in full, conditionals as their largest branch."""
    text = HLO.replace("{KNOWN}", '{"known_trip_count":{"n":"5"},"known_init_step":{"init":"0","step":"1"}}')
    assert count_kernels(text) == 5 * 3 + 3 + 2 + 1
    assert count_unknown_loops(text) == 1
    pair = HLO.replace(
        "branch_computations={%branch.1, %branch.2}", "true_computation=%branch.1, false_computation=%branch.2"
    )
    assert count_kernels(pair) == 3 + 3 + 2 + 1
