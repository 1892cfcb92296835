"""Fixtures of several test files."""

import pytest


@pytest.fixture
def one_thread():
    """PyTorch on one thread, so that a seed gives one network on one machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
