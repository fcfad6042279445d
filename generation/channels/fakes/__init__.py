"""Stand-ins for the providers that speak their real wire, for development and tests; no live key may lead here."""
