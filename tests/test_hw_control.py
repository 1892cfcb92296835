"""The register port alone: what takes too long to reach by running."""

from penstock.config import preset
from penstock.hw.control import Control
from penstock.sim.runner import TOP, build_component, run


def test_the_cycle_counter_carries(tmp_path):
    inside = tmp_path / "inside.vlt"
    inside.write_text(f'`verilator_config\npublic_flat_rw -module "{TOP}" -var "cycles"\n')
    build = build_component(Control(preset("tiny")), sources=[inside])
    run(build, "penstock.sim.tb_control", tests=1, seed=1)
