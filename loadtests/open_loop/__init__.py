"""An open-loop load generator, free of coordinated omission.

When requests are to be sent is laid down before the run and does not depend on answers; a latency begins when its
request was meant to be sent. A server that stalls for a second therefore costs every request of that second, as it
would cost the customers who keep coming, and not only the one that happened to be under way.

`python -m loadtests.open_loop --help` says how to run it; docs/performance.md says what it found.
"""
