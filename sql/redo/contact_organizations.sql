-- holds for: e8ec9c5f8609512c
select id as key from {int_contacts__organization_links}
