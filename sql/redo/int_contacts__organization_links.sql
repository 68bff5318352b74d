-- holds for: 22245c081a32be7c
-- by: contact_id
-- numbers: id
-- names: contact_id, organization_id
-- A contact that changed, that was or is on a deal whose contacts were read anew, or whose employer changed.
select id as key from {contacts}
union all
select contact_id from {int_deals__contacts}
union all
select contacts.contact_id
from crm_build.stg_legacy__contacts as contacts
inner join {companies} as companies on companies.id = contacts.company_id
