"""Requests generated from the OpenAPI document, a bounded run; `python -m loadtests.api_fuzz` is the long one."""

import pytest

from loadtests.api_fuzz import fuzz, served


@pytest.mark.timeout(300)
def test_no_generated_request_breaks_the_api() -> None:
    with served() as (url, watched):
        passed, said = fuzz(url, examples=2, seed=20261122, phases="examples,fuzzing")
    assert passed, said
    assert watched.failures == []
    assert watched.statuses.total() > 30
