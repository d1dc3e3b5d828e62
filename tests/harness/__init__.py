"""What the spec and end-to-end tests stand on: starting brokers, and looking at them from outside."""
