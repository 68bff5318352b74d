-- holds for: ea00d2abe39b7f83
-- by: deal_id
-- A deal that changed; one that had or names a contact that changed.
select id as key from {deals}
union all
select kept.deal_id from crm_build.int_deals__contacts as kept inner join {contacts} as contacts on contacts.id = kept.contact_id
union all
select member.deal_id
from (select deal_id, unnest(contact_ids) as contact_id from crm_build.stg_legacy__deals) as member
inner join {contacts} as contacts on contacts.id = member.contact_id
