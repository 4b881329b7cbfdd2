"""From a study to a fit: starts, chains, diagnostics, and fits in files."""
