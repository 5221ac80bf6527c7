"""A laboratory for the thermal governor: boards that heat up, an oracle, other controllers, scenarios and scores."""
