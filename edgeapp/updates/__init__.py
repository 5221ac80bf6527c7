"""Model updates on the device: what is trusted, what is stored, and how a release comes to run."""
