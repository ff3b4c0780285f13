"""The probes: each judges one kind of fault from a record. Importing `all_probes` registers every one."""
