"""Methods that model what is known and propose by the model."""
