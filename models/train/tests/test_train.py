import csv

import pytest
import torch
from conftest import box

from bedside_train import batches, data, evaluate, run, train
from bedside_train.model import Student
from bedside_train.weights import save_half


@pytest.fixture
def sampler(dataset, small):
    mask = box(20, 15, 60, 45)
    rows = [(f"{n}.png", "train", "ct", "liver", "liver", mask) for n in range(4)]
    return batches.Sampler(data.load([dataset("liver", rows)], "train"))


def steps(training, sampler, count):
    for _ in range(count):
        training.learn(batches.batch(sampler, training.step, training.seed), 0.5, None)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(sampler, tmp_path):
    torch.manual_seed(4)
    save_half(Student(), tmp_path / "start.safetensors")

    def new(folder):
        return train.Training(
            tmp_path / folder,
            tmp_path / "start.safetensors",
            sampler,
            1,
            torch.device("cpu"),
        )

    whole = new("whole")
    steps(whole, sampler, 4)
    half = new("half")
    steps(half, sampler, 2)
    half.save()
    resumed = new("half")
    assert resumed.step == 2 and resumed.frames == 4
    steps(resumed, sampler, 2)
    for name in ("student", "average"):
        mine, theirs = (getattr(r, name).state_dict() for r in (resumed, whole))
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
    assert resumed.frames == whole.frames


def test_rows_of_lost_steps_are_dropped(tmp_path):
    path = tmp_path / "train.csv"
    for step in (10, 20, 30):
        run.append(path, {"step": step, "loss": 1.0})
    run.cut(path, 20)
    with open(path, newline="") as f:
        assert [r["step"] for r in csv.DictReader(f)] == ["10", "20"]


def test_learning_rate_rises_stays_and_falls():
    assert train.rate(0, 0.0) < 0.01
    assert train.rate(10_000, 0.3) == train.rate(10_000, 0.69) == 1
    assert 0 < train.rate(10_000, 0.95) < 0.2
    assert train.rate(10_000, 1.0) == 0


def test_figures_of_a_perfect_and_of_a_blind_student(dataset):
    mask = box(20, 15, 60, 45)
    rows = [
        ("1.png", "val", "ultrasound", "breast tumor", "benign", mask),
        ("2.png", "val", "ultrasound", "breast tumor", "normal", None),
    ]
    frames = data.load([dataset("busi", rows)], "val")
    net = torch.nn.Linear(1, 1)
    truth = torch.from_numpy(
        data.WHOLE.render((mask * 255).astype("uint8"), 128) / 255.0
    )

    def answer(sees):
        def forward(images, tokens, keep, low):
            n, k = tokens.shape[:2]
            logits = (truth.float() - 0.5).expand(n, k, 128, 128) * (1 if sees else -1)
            score = torch.full((n, k), -1.0)
            score[0] = 1.0 if sees else -2.0
            modality = torch.zeros(n, 10)
            modality[:, 2] = 1
            return logits, score, torch.zeros(n, k, 16), modality

        net.forward = forward
        found, right = evaluate.evaluate(net, frames)
        return {r["form"]: r for r in found}, right

    found, right = answer(True)
    tumor = found["tumor in breast ultrasound"]
    assert right == 1 and tumor["dice"] > 0.95 and tumor["gated"] > 0.95
    assert tumor["auroc"] == 1 and tumor["absent"] == 1 and tumor["missed"] == 0
    assert found["polyp in colon endoscope"]["elsewhere"] == 0.5
    found, _ = answer(False)
    tumor = found["tumor in breast ultrasound"]
    assert tumor["gated"] == 0 and tumor["auroc"] == 0


def test_auroc():
    assert evaluate.auroc([3, 2, 1, 0], [True, True, False, False]) == 1
    assert evaluate.auroc([0, 1, 1], [False, True, False]) == pytest.approx(0.75)
