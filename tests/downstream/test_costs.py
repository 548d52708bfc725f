"""Costs are measured beside results, change none of them, and are never older than asked for."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from adpt.evaluate import evaluate
from adpt.evaluation import evaluation as module
from adpt.evaluation import measured_costs, preparing
from adpt.evaluation.cells import Setting
from adpt.evaluation.encoding import Encoder
from adpt.evaluation.epochs import TrainingPlan
from adpt.evaluation.measured_costs import EncodingCosts, PeakMemory, milliseconds, size
from adpt.evaluation.run import run_method
from adpt.methods import UniAD
from adpt.results import Record, read_records
from adpt.results.details import load_details
from drawn import draw_folder
from runs import evaluation, folder_data, run_task
from small import SmallBackbone

CPU = torch.device("cpu")
PARTS = ("backbone", "features", "method")
UNIFIED = [
    "method=[uniad_quick]", "method.uniad.epochs=2", "checks=2", "features=[own]",
    "method.uniad.hidden_dim=16", "method.uniad.num_heads=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_costs, "SECONDS", 0.0)
    monkeypatch.setattr(measured_costs.gc, "collect", lambda: 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", ("bottle", "key"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that are run, in order."""
    done: list[str] = []
    original = module.run_method

    def counted(*parts: Any, **rest: Any) -> Any:
        done.append(rest["name"])
        return original(*parts, **rest)

    monkeypatch.setattr(module, "run_method", counted)
    return done


def results(root: Path, folder: Path, *overrides: str) -> list[Record]:
    chosen = ["method=[feature_norm,patchcore]", "data.classes=[key]", "heatmaps=0"]
    run_task(evaluate, evaluation(folder, "data=folder", f"data.root={root}", *chosen, *overrides))
    return read_records(folder)


def test_costs_are_measured_and_change_no_result(root: Path, tmp_path: Path) -> None:
    plain = results(root, tmp_path / "plain")
    made = results(root, tmp_path / "costs", "costs=true")
    assert [(r.cell, r.metrics) for r in made] == [(r.cell, r.metrics) for r in plain]
    for one, other in zip(plain, made, strict=True):
        assert one.costs == {}
        assert one.details
        assert other.details
        first = load_details(tmp_path / "plain" / "details" / one.details)
        second = load_details(tmp_path / "costs" / "details" / other.details)
        assert (first.image_scores == second.image_scores).all()
        assert (first.maps == second.maps).all()
    for record in made:
        for count in (1, 32):
            parts = [record.costs[f"{part}_ms_{count}"] for part in PARTS]
            assert record.costs[f"ms_{count}"] == pytest.approx(sum(parts))
            assert (parts[1] == 0) == (record.features == "own")
        assert record.costs["fit_seconds"] >= 0
        assert record.costs["classes"] == 1
        assert (record.costs["size_mb"] > 0) == (record.method == "patchcore")
        assert " of " in record.provenance["costs_on"]
    # One backbone for all, so that ratios are of the methods.
    assert len({record.costs["backbone_ms_1"] for record in made}) == 1
    by_name = {(r.method, r.features): r.costs["features_ms_1"] for r in made}
    assert by_name["feature_norm", "residual"] == by_name["patchcore", "residual"]


def test_what_is_recorded_without_costs_is_measured_once_they_are_asked_for(
    root: Path,
    tmp_path: Path,
    computed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def again(*overrides: str) -> list[str]:
        computed.clear()
        results(root, tmp_path / "out", "features=[own]", *overrides)
        return list(computed)

    both = ["feature_norm", "patchcore"]
    assert again("method=[feature_norm]", "costs=true") == both[:1]
    assert again() == both[1:]
    caplog.clear()
    with caplog.at_level("INFO"):
        assert again("costs=true") == both[1:]
    assert "1 recorded before are computed again, for their costs: on " in caplog.text
    assert "for this differs" not in caplog.text
    assert again("costs=true") == again() == []
    assert all(record.costs for record in read_records(tmp_path / "out"))
    monkeypatch.setattr(preparing, "computing_on", lambda _: "another machine")
    assert again("costs=true") == both
    assert again("costs=true") == []
    made = read_records(tmp_path / "out")
    assert len(made) == 2
    assert {record.provenance["costs_on"] for record in made} == {"another machine"}


def test_one_model_for_all_classes_costs_once(root: Path, tmp_path: Path) -> None:
    one, other = results(
        root, tmp_path / "out", *UNIFIED, "data.classes=[bottle,key]", "costs=true"
    )
    assert one.costs == other.costs
    assert one.costs["classes"] == 2
    # Of the records' seconds each class has its share.
    assert one.costs["fit_seconds"] == pytest.approx(one.seconds["fit"] * 2)


def test_seconds_of_a_resumed_training_are_left_out(root: Path, tmp_path: Path) -> None:
    data = folder_data(root)
    data.setup()
    encoder = Encoder(
        data=data, backbone=SmallBackbone(), projector=None, setting=Setting(shots=2),
        device=CPU, cache=None,
    )  # fmt: skip
    encoded = encoder.encode("key", lambda *_: None)
    pair = encoder.features(encoded, "own")

    def trained(progress: Any) -> dict[str, float]:
        costing = EncodingCosts(encoder).of_method({"key": encoded}, "own")
        found = run_method(
            UniAD(48, epochs=3, hidden_dim=16, num_heads=2),
            [pair[0]], {"key": pair[1]}, name="uniad", kind="own", batch_size=6, device=CPU,
            plan=TrainingPlan(folder=tmp_path / "state"), costing=costing, progress=progress,
        )  # fmt: skip
        return found["key"].costs

    def stopping(what: str, done: int, total: int) -> None:
        if done == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        trained(stopping)
    resumed = trained(lambda *_: None)
    assert "fit_seconds" not in resumed
    assert resumed["ms_1"] > 0
    assert "fit_seconds" in trained(lambda *_: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves only where a test moves it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_milliseconds_are_medians_in_turns_after_a_warm_up(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_costs, "SECONDS", 1.0)
    called: list[tuple[int, int]] = []
    slow: Iterator[float] = iter([9.0, 9.0, 0.1, 0.32, 0.1, 0.32, 0.5, 3.2])

    def work(count: int, number: int) -> None:
        called.append((count, number))
        clock[0] += next(slow)

    found = milliseconds("method", work, CPU)
    assert called == [(1, 0), (32, 0), (1, 0), (32, 0), (1, 1), (32, 1), (1, 2), (32, 2)]
    assert found == pytest.approx({"method_ms_1": 100, "method_ms_32": 10})


def test_batches_without_room_are_left_out() -> None:
    def work(count: int, _: int) -> None:
        if count > 1:
            raise torch.OutOfMemoryError

    assert list(milliseconds("method", work, CPU)) == ["method_ms_1"]


def test_peak_memory_is_what_was_taken_since_and_not_aside() -> None:
    memory = PeakMemory(CPU)
    if memory.base != memory.base:
        pytest.skip("this system does not tell")
    kept = torch.ones(5_000_000)
    torch.ones(10_000_000).sum()
    with memory.paused():
        torch.ones(30_000_000).sum()
    assert memory.read() == pytest.approx(60e6, abs=6e6)
    memory.restart()
    assert memory.read() == pytest.approx(20e6, abs=6e6)
    del kept


def test_size_is_that_of_the_tensors_in_a_file() -> None:
    state = {"a": torch.zeros(1000, 10), "b": torch.zeros(30, dtype=torch.int64), "c": "extra"}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    assert size(state) == 40240
    assert len(save(tensors)) == pytest.approx(size(state), abs=300)
