"""What everybody is told: the plan, the outbox and the mails. No step of a migration knows about them."""
