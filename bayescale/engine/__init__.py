"""The log posterior of a study, as formulas, compiled code and a PyMC model."""
