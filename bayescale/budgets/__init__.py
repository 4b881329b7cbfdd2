"""From a fit to decisions about compute: splits, targets, the next run."""
