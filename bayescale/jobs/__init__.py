"""Threads, files and batches of work: processes and disks; knows nothing of laws."""
