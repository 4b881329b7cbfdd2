"""Results for people: tables, figures and the report."""
