"""Methods that look for a whole Pareto front."""
