"""The functional core: deciding is a pure function of data, without I/O, clock or randomness."""
