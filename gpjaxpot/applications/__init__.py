"""What is done with a fitted potential: calculations in ASE, tests against reference data."""
