"""The page of fuzzing: what the records say, between two comments; the rest is written by hand."""

import re
from collections import Counter

BEGIN, END = "<!-- fuzzing -->\n", "\n<!-- /fuzzing -->"
NEW = f"""# Fuzzing

`make fuzz TIME=120` draws configurations, networks, images and disturbances at random, and holds
the simulated hardware against the golden model: every tensor, all counters, every cycle explained.
Between the networks it corrupts programs, accesses registers at random, aborts, lets words of
memory fail and the bus die; a good program must run right behind each. A seed determines a round;
`python tests/fuzz.py --replay SEED` runs it again.

{BEGIN}{END}

## Faults found

None yet.
"""
FIELDS = (
    ("array", lambda config: f"{config['rows']} x 9x{config['word']}"),
    ("AXI bits", lambda config: config["axi_bits"]),
    ("weights", lambda config: config["weights"]),
    ("activation bits", lambda config: config["activation_bits"]),
    ("weight bits", lambda config: config["weight_bits"]),
    ("accumulator bits", lambda config: config["accumulator_bits"]),
    ("words of a bank", lambda config: _power(config["map_words"])),
    ("map side", lambda config: config["map_side"]),
    ("weight words", lambda config: _power(config["weight_words"])),
    ("channels", lambda config: _power(config["channels"])),
    ("groups", lambda config: _power(config["groups"])),
    ("program words", lambda config: _power(config["program_words"])),
    ("task queue", lambda config: config["queue_groups"]),
    ("write queue", lambda config: config["write_groups"]),
    ("pooled channels", lambda config: config["pool_channels"]),
)
"""What is varied of a configuration, and how it is shown."""

COUNTS = {
    "networks": "networks run, bit by bit",
    "images": "images",
    "corruptions": "corrupted programs",
    "accesses": "random register accesses",
    "faults": "aborts, failing words, dead buses, short watchdogs, writes while busy",
    "core faults": "the same on the core alone",
    "refusals": "networks, network, program and configuration files that are wrong somewhere",
    "refused networks": "random networks that did not fit and were refused",
}


def _power(value: int) -> str:
    """Its range between powers of two."""
    low = 1 << value.bit_length() - 1
    return str(low) if value == low == 1 else f"{low}-{2 * low - 1}"


def refreshed(text: str | None, runs: list[dict]) -> str:
    """The page with these runs; a new page where there is none."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    text = NEW if text is None else text
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"the page must hold one {BEGIN.strip()} .. {END.strip()}")
    return pattern.sub(lambda _: BEGIN + summary(runs) + END, text)


def summary(runs: list[dict]) -> str:
    """Runs, cases, and what was varied, as Markdown."""
    rounds = [each for run in runs for each in run["rounds"]]
    spent, worked = (sum(each[name] for each in rounds) for name in ("seconds", "processor"))
    failures = sum(len(run["failures"]) for run in runs)
    total = sum((Counter(each["counts"]) for each in rounds), Counter())
    lines = [
        f"{_time(spent)} of rounds, {_time(worked)} of one processor.",
        f"{len(rounds):,} configurations, {failures or 'no'} failure{'s' * (failures != 1)}.",
        "",
        "| date | commit | seeds | seconds | jobs | rounds | networks | failures |",
        "|---|---|---|---|---|---|---|---|",
        *(_run_line(run) for run in runs),
        "",
        *(_failure_line(failure) for run in runs for failure in run["failures"]),
        "| cases | |",
        "|---|---|",
        *(f"| {meaning} | {total[name]:,} |" for name, meaning in COUNTS.items()),
        "",
        "| varied | rounds with each |",
        "|---|---|",
        f"| design | {_distribution(_design(each) for each in rounds)} |",
        *(
            f"| {name} | {_distribution(show(each['config']) for each in rounds)} |"
            for name, show in FIELDS
        ),
        "",
        "| of networks and jobs | networks |",
        "|---|---|",
    ]
    features = sum((Counter(each["features"]) for each in rounds), Counter())
    lines += [f"| {name} | {count:,} |" for name, count in sorted(features.items())]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 3600 else f"{seconds / 60:.0f} minutes"


def _run_line(run: dict) -> str:
    first, end = run["seeds"]
    networks = sum(each["counts"].get("networks", 0) for each in run["rounds"])
    return (
        f"| {run['date'][:16].replace('T', ' ')} | {run['commit']} | {first}-{end - 1} "
        f"| {run['seconds']:,.0f} | {run['jobs']} | {len(run['rounds'])} | {networks:,} "
        f"| {len(run['failures'])} |"
    )


def _failure_line(failure: dict) -> str:
    case = "" if failure["case"] is None else f", case {failure['case']}"
    return f"Seed {failure['seed']}{case} failed ({failure['kind']}): `{failure['replay']}`\n"


def _design(record: dict) -> str:
    if "core" in record["design"]:
        return "core alone"
    return "AXI, cocotbext-axi" if record["bench"] == "clients" else "AXI, own memory model"


def _distribution(values) -> str:
    """Values and how often, in order."""
    counts = Counter(map(str, values))

    def order(value: str):
        number = re.match(r"\d+", value)
        return (int(number[0]) if number else 0, value)

    return ", ".join(f"{value}: {counts[value]}" for value in sorted(counts, key=order))
