"""What ``execstore bench`` measures: each part on stores of its own, made in a folder that is thrown away."""
