"""Proofs: properties of the hardware that hold for all inputs, by SMT solver (see `prover`)."""
