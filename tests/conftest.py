"""What holds for all tests: Hypothesis gives no example a time limit, since the machine may be busy with other work."""

from hypothesis import HealthCheck, settings

settings.register_profile("edgeapp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgeapp")
