"""The `probe` stage: linear probes of distortions and instance retrieval of content."""
