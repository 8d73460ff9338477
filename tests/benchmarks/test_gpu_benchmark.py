"""The accelerator's benchmark must run anywhere, and never pass one device off as another."""

import argparse
from types import SimpleNamespace

import jax

from benchmarks.gpu import CPU_POSTS_MAX, WIDTH, add_arguments, measure, posts_max
from benchmarks.gpu.training import TrainingTurn
from phoenix.config import ranker_preset


def test_a_quick_run_names_the_device() -> None:
    """A CPU's figures in a table of accelerators would be taken for one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    report = measure(parser.parse_args(["--quick", "--repeats", "2"]))
    device = jax.devices()[0]
    assert report.workload["platform"] == device.platform
    assert report.notes[0] == f"measured on {device.device_kind} ({device.platform})"
    assert set(report.timings) == {"scoring", "retrieval, 2,000 posts", "training"}
    assert report.figures["training, a step of 8 contexts"]["examples/s"] > 0


def test_a_training_turn_is_the_products_step_and_learns() -> None:
    """A step that changed nothing would be the fastest of all."""
    turn = TrainingTurn(ranker_preset("nano"), 8, seed=1)
    losses = [float(turn().loss) for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]
    assert turn.examples > 8


def test_what_does_not_fit_is_known_before_it_is_tried() -> None:
    """Fifty million vectors on a small card would end the run before it had reported anything."""
    small = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 10 * 2 * WIDTH})
    silent = SimpleNamespace(memory_stats=lambda: None)
    assert posts_max(small) == 6
    assert posts_max(silent) == CPU_POSTS_MAX
