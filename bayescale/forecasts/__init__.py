"""From a fit to the losses of runs not yet made."""
