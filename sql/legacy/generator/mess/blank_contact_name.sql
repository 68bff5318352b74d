update pg_temp.demo_contacts as contact
set
    first_name = case target.position % 3 when 0 then '' when 1 then ' ' end,
    last_name = case target.position % 3 when 0 then ' ' when 1 then '' end
from pg_temp.demo_targets as target
where contact.id = target.id;
