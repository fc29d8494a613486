"""The imperative shell: everything that waits, talks or reads a clock."""
