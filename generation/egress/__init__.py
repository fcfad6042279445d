"""The only way out: the upstream event loop and the transport every adapter uses; it must never know a provider."""
