"""Methods that carry what one search has learned into the next."""
