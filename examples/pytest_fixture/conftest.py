"""The fixtures of execstore.testing for the tests in this folder: this one line is all that it takes."""

pytest_plugins = ["execstore.testing.fixtures"]
