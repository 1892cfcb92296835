"""What a simulated run must have done: all values, counters and cycles."""

from penstock.cycles import estimate
from penstock.gold import runner as gold
from penstock.registers import Code
from penstock.sim.simulate import Job, Run, compare


def fault_of(job: Job, run: Run) -> tuple[str, str] | None:
    """What is wrong with a run: a short kind and the first difference; None where nothing is.

    Every tensor, OUTPUTS, TASKS and the writes are those of the golden model, the steps those of
    the cycle model, and every cycle has a step or one cause why not.
    """
    if run.code != Code.OK:
        return f"code {run.code.name}", f"ended with {run.code.name}, {run.counters}"
    for each in compare(run, job.program, job.images, job.gating):
        if each.mismatches:
            return "values", f"{each}, {run.errors}"
    wanted = {"IMAGE": len(job.images)} | _steps(job)
    for counter, value in wanted.items():
        if run.counters[counter] != value:
            return "counters", f"{counter} must be {value}, not {run.counters[counter]}"
    explained = sum(
        value
        for name, value in run.counters.items()
        if name.startswith("STALL_") or name.endswith("_STEPS")
    )
    if abs(run.counters["CYCLES"] - explained) > 2:
        return "cycles", f"{explained} cycles are explained: {run.counters}"
    return None


def _steps(job: Job) -> dict[str, int]:
    """BASE_STEPS and CONDITIONAL_STEPS of the cycle model."""
    decisions = gold.run(job.program.network, job.images, job.gating).decisions
    layers = [
        layer
        for image in range(len(job.images))
        for layer in estimate(
            job.program, {name: d[image] for name, d in decisions.items()}, job.gating
        ).layers
    ]
    return {
        counter.upper(): sum(getattr(layer, counter) for layer in layers)
        for counter in ("base_steps", "conditional_steps")
    }
