"""Private helpers of the package, without public names."""
