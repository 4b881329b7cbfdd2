"""Laws as data: formulas, priors, law files, and how observations scatter around a law."""
