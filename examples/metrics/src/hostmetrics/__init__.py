"""Resource usage of the host, as the Kubernetes APIs that `kubectl top` reads."""
