"""The compact engine: one output at a time on nine multipliers, for the smallest FPGAs."""
