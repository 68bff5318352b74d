update pg_temp.demo_contact_notes as note
set text = case target.position % 2 when 0 then '  ' end
from pg_temp.demo_targets as target
where note.id = target.id;
