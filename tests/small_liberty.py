"""A small library of standard cells in Liberty, for tests: a dozen cells, all tables bilinear.

Every delay is ``intrinsic + resistance * load + 0.1 * transition`` (ns, pF), and every transition
``0.5 * resistance * load + 0.3 * transition``: interpolation between the tables' points is exact.
"""

GATES = {  # name: (area, function, inputs, sense)
    "INV": (2.0, "!A", "A", "negative_unate"),
    "BUF": (3.0, "A", "A", "positive_unate"),
    "NAND2": (2.5, "(!A) | (!B)", "AB", "negative_unate"),
    "NAND2_X2": (4.5, "(A*B)'", "AB", "negative_unate"),
    "NOR2": (2.5, "!(A+B)", "AB", "negative_unate"),
    "AND2": (4.0, "A B", "AB", "positive_unate"),
    "OR2": (4.0, "A|B", "AB", "positive_unate"),
    "XOR2": (6.0, "A^B", "AB", "non_unate"),
    "XNOR2": (6.0, "!(A^B)", "AB", "non_unate"),
    "MUX2": (7.0, "(A&!S) | (B&S)", "ABS", "non_unate"),
    "AOI21": (4.0, "!((A&B) | C)", "ABC", "negative_unate"),
}
INTRINSIC = {"rise": 0.03, "fall": 0.02}
RESISTANCE = {"rise": 4.0, "fall": 3.0}
CAPACITANCE = {"rise": 0.002, "fall": 0.0015}
CLOCK_TO_OUTPUT = 0.1
SETUP = {"rise": 0.05, "fall": 0.07}  # and 0.2 of the data's transition
TRANSITIONS = 0.0, 0.1, 1.0
LOADS = 0.0, 0.01, 0.5


def delay(edge: str, load: float, transition: float, intrinsic: float = 0.0) -> float:
    """Delay of any arc to an edge of the output; ``intrinsic`` comes on top."""
    return intrinsic + INTRINSIC[edge] + RESISTANCE[edge] * load + 0.1 * transition


def transition_of(edge: str, load: float, transition: float) -> float:
    """Transition of that edge of the output, for one of the input."""
    return 0.5 * RESISTANCE[edge] * load + 0.3 * transition


def _values(rows) -> str:
    return (
        "values(" + ", \\\n".join(f'"{", ".join(f"{x:.9g}" for x in row)}"' for row in rows) + ");"
    )


def _timing(pin: str, attributes: str, intrinsic: float = 0.0) -> str:
    tables = ""
    for edge in ("rise", "fall"):
        delays = [[delay(edge, load, t, intrinsic) for load in LOADS] for t in TRANSITIONS]
        transitions = [[transition_of(edge, load, t) for load in LOADS] for t in TRANSITIONS]
        tables += f"cell_{edge} (delays) {{ {_values(delays)} }}\n"
        tables += f"{edge}_transition (delays) {{ {_values(transitions)} }}\n"
    return f'timing () {{ related_pin : "{pin}"; {attributes}\n{tables} }}\n'


def _input(name: str, more: str = "") -> str:
    edges = " ".join(f"{e}_capacitance : {c};" for e, c in CAPACITANCE.items())
    return f'pin ("{name}") {{ direction : "input"; capacitance : 0.002; {edges} {more} }}\n'


def _gate(name: str) -> str:
    area, function, inputs, sense = GATES[name]
    timings = "".join(_timing(pin, f'timing_sense : "{sense}";') for pin in inputs)
    return (
        f"cell ({name}) {{ area : {area}; {''.join(map(_input, inputs))}"
        f'pin (Y) {{ direction : output; function : "{function}"; {timings} }} }}\n'
    )


def _flip_flop(more: str = "") -> str:
    setups = ""
    for edge, base in SETUP.items():
        rows = [[base + 0.2 * data for data in TRANSITIONS] for _ in TRANSITIONS]
        setups += f"{edge}_constraint (setups) {{ {_values(rows)} }}\n"
    setup = f'timing () {{ related_pin : "CK"; timing_type : setup_rising; {setups} }}'
    launch = _timing("CK", "timing_type : rising_edge;", CLOCK_TO_OUTPUT)
    return (
        f'cell (DFF) {{ {more} area : 10; ff (IQ, IQN) {{ next_state : "D"; clocked_on : "CK"; }}\n'
        f"{_input('CK', 'clock : true;')}{_input('D', setup)}"
        f'pin (Q) {{ direction : output; function : "IQ"; {launch} }} }}\n'
    )


def _template(name: str, *variables: tuple[str, tuple[float, ...]]) -> str:
    lines = "".join(
        f'variable_{n} : {variable}; index_{n} ("{", ".join(map(str, index))}");\n'
        for n, (variable, index) in enumerate(variables, 1)
    )
    return f"lu_table_template ({name}) {{ {lines} }}\n"


def _thresholds() -> str:
    """Where delays and transitions are measured, percent of the swing."""
    where = {"input_threshold": 50, "output_threshold": 50}
    where |= {"slew_lower_threshold": 20, "slew_upper_threshold": 80}
    return " ".join(f"{name}_pct_{e} : {v};" for name, v in where.items() for e in INTRINSIC) + "\n"


def small_liberty(*, without: tuple[str, ...] = (), flip_flop: str = "") -> str:
    """The library's text; ``without`` names cells to leave out, ``flip_flop`` goes into DFF."""
    cells = [_gate(name) for name in GATES if name not in without]
    cells += [_flip_flop(flip_flop)] * ("DFF" not in without)
    return (
        "/* a library\n for tests */ library (small) { delay_model : table_lookup; "
        f'time_unit : "1ns"; capacitive_load_unit (1, pf);\n{_thresholds()}'
        + _template(
            "delays",
            ("input_net_transition", TRANSITIONS),
            ("total_output_net_capacitance", LOADS),
        )
        + _template(
            "setups",
            ("related_pin_transition", TRANSITIONS),
            ("constrained_pin_transition", TRANSITIONS),
        )
        + "".join(cells)
        + "}\n"
    )
