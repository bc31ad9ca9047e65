"""Pure decisions: (request, now) → effects. No Ray, event loop, socket, file, clock or randomness in here."""
