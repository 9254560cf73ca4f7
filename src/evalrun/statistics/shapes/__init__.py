"""The course of each curve over training and over size: labels, and the tests beside them."""
