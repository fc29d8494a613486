"""A strategy decides a recorded day again, beside another one, at full engine fidelity."""
