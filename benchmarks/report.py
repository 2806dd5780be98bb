"""The results of a benchmark: prints each figure at once, compares it with its target, and writes a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from benchmarks.machine import bfloat16_is_native, commit, machine, versions
from benchmarks.measure import Rates
from benchmarks.targets import targets
from keras_resnet._internal.atomic_files import atomic_write

RESULTS = Path(__file__).parent / "results"


class Report:
    """The figures of one benchmark.

    Attributes:
        name: name of the benchmark.
        figures: values by name.
        left_out: for everything that could not be measured on this machine, the reason.
        rounds: the rate of each subject in each round.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.commit = commit()  # taken before the run: it takes hours, and each worker reads the code when it starts
        self.figures: dict[str, float] = {}
        self.left_out: dict[str, str] = {}
        self.rounds: dict[str, list[float]] = {}

    def add(self, figure: str, value: float) -> None:
        """Adds a figure, prints it, and compares it with its target if it has one."""
        self.figures[figure] = value
        target = targets(self.name).get(figure)
        print(f"  {figure}: {value:.3g}" + (f"   {target.verdict(value)}" if target else ""), flush=True)

    def compare(
        self,
        case: str,
        rates: Mapping[str, Rates],
        peer: str,
        unit: str,
        flops: Mapping[str, float] | None = None,
        ceilings: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Prints a line for each subject, and adds the medians, the ratios to the peer and the fractions of ceilings.

        Args:
            case: name of the comparison, for example "ResNet50 at 8". The names of the figures start with it.
            rates: rates by subject, in `unit` per second; for ceilings in FLOP/s.
            peer: the subject with which the others are compared.
            unit: unit of work, for example "images".
            flops: for each subject the floating-point operations for one `unit`.
            ceilings: for each subject of `flops` the ceilings, among `rates`, that limit its speed.
        """
        flops, ceilings = flops or {}, ceilings or {}
        bounds = dict.fromkeys(top for tops in ceilings.values() for top in tops)
        print(f"{case}\n  {'':28}{'median':>10}{'min':>10}{'max':>10}  {unit}/s", flush=True)
        for name, rate in rates.items():
            self.rounds[f"{case}, {name}"] = rate.rounds
            if name in bounds:
                continue
            spread = "".join(f"{figure:10.4g}" for figure in (rate.median, min(rate.rounds), max(rate.rounds)))
            over = f"   {rate.over(rates[peer]):6.2f} times {peer}" if name != peer and peer in rates else ""
            print(f"  {name:28}{spread}{over}", flush=True)
        for top in bounds:
            if top in rates:
                self.add(f"{top}, TFLOP/s in the run of {case}", rates[top].median / 1e12)
        for name, rate in rates.items():
            if name in bounds:
                continue
            self.figures[f"{case}, {name}, {unit}/s"] = rate.median
            if name != peer and peer in rates:
                self.add(f"{case}, {name} over {peer}", rate.over(rates[peer]))
            for top in ceilings.get(name, ()):
                if top in rates:
                    done = Rates([flops[name] * value for value in rate.rounds])
                    self.add(f"{case}, {name} of {top}", done.over(rates[top]))

    def compare_with_best(self, figure: str, rate: Rates, others: Mapping[str, Rates]) -> None:
        """Adds the ratio of a rate to the best one of others, as `FIGURE over the best precision`."""
        best = max(others.values(), key=lambda other: other.median)
        self.add(f"{figure} over the best precision", rate.over(best))

    def precisions(self) -> tuple[str, ...]:
        """float32, and bfloat16 if the processor computes in it; otherwise bfloat16 is not measured."""
        if bfloat16_is_native():
            return ("float32", "bfloat16")
        self.leave_out("bfloat16", "this processor does not compute in it")
        return ("float32",)

    def leave_out(self, what: str, reason: str) -> None:
        """Stores and prints what is not measured.

        Args:
            what: parts of the names of the missing figures, separated by commas.
            reason: why it is not measured.
        """
        self.left_out[what] = reason
        print(f"  {what}: not measured, {reason}", flush=True)

    def leave_out_of(self, case: str) -> Callable[[str, str], None]:
        """The function `leave_out` for the subjects of a case."""
        return lambda subject, reason: self.leave_out(f"{case}, {subject}", reason)

    @property
    def missed(self) -> list[str]:
        """Names of the figures that miss their targets."""
        named = targets(self.name).items()
        return [name for name, target in named if name in self.figures and not target.is_met(self.figures[name])]

    def write(self, command: str) -> None:
        """Writes the results to benchmarks/results. The commit gets a "+" if it has changed since the start."""
        record = {
            "command": command,
            "machine": machine(),
            "commit": self.commit if commit() == self.commit else f"{self.commit.rstrip('+')}+",
            "versions": versions(),
            "figures": {name: _short(value) for name, value in self.figures.items()},
            "left out": self.left_out,
            "rounds": {name: [_short(value) for value in values] for name, values in self.rounds.items()},
        }
        RESULTS.mkdir(exist_ok=True)
        with atomic_write(RESULTS / f"{self.name}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


def _short(value: float) -> float:
    """A number with four significant digits; repeated runs have fewer digits in common."""
    return float(f"{value:.4g}")
