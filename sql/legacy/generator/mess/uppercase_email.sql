-- older than the trigger that writes them in lower case
update pg_temp.demo_contacts as contact
set email_jsonb = jsonb_build_array(jsonb_build_object('email', 'Front.Desk.' || contact.id || '@Work.example', 'type', 'Work'))
from pg_temp.demo_targets as target
where contact.id = target.id;
