"""What the encoders have learned of distortions and of content: the `probe` stage."""
