"""The user-mode kernel, where this machine has built one."""

from __future__ import annotations

import pytest

from spark_cluster.lab.uml import kernel


@pytest.mark.lab
def test_the_kernel_that_was_built_starts() -> None:
    built = kernel.cached()
    if built is None:
        pytest.skip("nodes are not user-mode Linux here: no such kernel was built")
    said = kernel.first_words(built.program)
    assert kernel.starts(said), said[-800:]
