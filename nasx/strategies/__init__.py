"""The search methods, one folder a family and one file a method."""
