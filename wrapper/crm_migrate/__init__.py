"""crm-migrate: moves a live Atomic CRM to its B2B shape, and back."""

__version__ = "0.1.0"
