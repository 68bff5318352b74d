update pg_temp.demo_contacts as contact
set company_id = null
from pg_temp.demo_targets as target
where contact.id = target.id;
