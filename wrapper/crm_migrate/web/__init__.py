"""The web pages: status for everybody, reports and review console for administrators. They read the control schema."""
