"""Which law to believe, and whether bands hold."""
