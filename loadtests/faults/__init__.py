"""The fault campaign: one running system, faults of every kind drawn by a seed, and a judge that folds the log itself.

`python -m loadtests.faults --seed 1 --faults 500` (`make faults`), `--broker kafka` for Apache Kafka,
`python -m loadtests.faults.soak` for the compressed soak. docs/reliability.md has what each kind proves.
"""
