//! Back-pressure arithmetic: bounded queues and their policies, budgets, rate limits; no wire format, no I/O.
