"""Methods that every other one has to beat."""
