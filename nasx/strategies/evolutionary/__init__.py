"""Methods that breed new architectures from a population of told ones."""
