"""A training run that may be stopped at any time and goes on from its folder."""

import copy
import csv
import os

import torch

AVERAGE = 0.999  # share of the old in the averaged weights


class Run:
    """The state of a training run, and its folder.

    student: what learns, a module; groups: {name: (its parameters, their learning rate)}; begin:
    called before the first step of a run, and not when one goes on.
    """

    COUNTS = ("step", "frames", "seconds", "reported")

    def __init__(self, folder, student, groups, device, begin):
        self.folder, self.device, self.student = folder, device, student
        folder.mkdir(parents=True, exist_ok=True)
        self.rates = {name: value for name, (_, value) in groups.items()}
        groups = [{"params": list(p), "name": name} for name, (p, _) in groups.items()]
        self.optimiser = torch.optim.AdamW(
            groups, lr=1e-3, weight_decay=2e-2, fused=True
        )
        self.step, self.frames, self.seconds = 0, 0, 0.0
        self.reported = 0  # frames at the last evaluation
        last = folder / "last.pt"
        if not last.exists():
            begin()
            self.average = copy.deepcopy(student).eval()
            return
        state = torch.load(last, map_location=device, weights_only=True)
        student.load_state_dict(state["student"])
        self.average = copy.deepcopy(student).eval()
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name in self.COUNTS:
            setattr(self, name, state[name])
        cut(folder / "train.csv", self.step)
        cut(folder / "val.csv", self.step)

    def save(self):
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **{n: getattr(self, n) for n in self.COUNTS},
        }
        part = self.folder / "last.part"
        torch.save(state, part)
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        part.replace(self.folder / "last.pt")

    def descend(self, parts, factor, frames):
        """One step from the parts of a batch's loss; -> their values. factor: of the learning
        rates; frames: how many the batch has."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rates[group["name"]] * factor
        loss = sum(parts.values())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        if torch.isfinite(norm):  # a step that overflowed teaches nothing
            self.optimiser.step()
        self.step += 1
        self.frames += frames
        self.update_average()
        return {"loss": loss.item(), **{k: v.item() for k, v in parts.items()}}

    @torch.no_grad()
    def update_average(self):
        keep = min(AVERAGE, (self.step + 1) / (self.step + 10))
        pairs = list(
            zip(self.average.state_dict().values(), self.student.state_dict().values())
        )
        moving = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*moving)), 1 - keep)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)


def cut(path, step):
    """Drop what a CSV file says of later steps, which are about to be done again."""
    if not path.exists():
        return
    with open(path, newline="") as f:
        head, *rows = csv.reader(f)
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([head, *(r for r in rows if int(r[0]) <= step)])


def append(path, row):
    new = not path.exists()
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
