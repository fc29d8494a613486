"""The load profiles as Locust scenarios, for people who know Locust. It is not among the project's dependencies."""
