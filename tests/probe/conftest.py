import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder, to which the process has moved."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
