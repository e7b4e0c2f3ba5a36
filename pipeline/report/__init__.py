"""The run report: an account of a run in numbers (JSON), and the page that shows it."""
