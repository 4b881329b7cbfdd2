"""Tables as they stand in files: bytes -> data frame, one module a format."""
