update pg_temp.demo_contacts as contact
set
    email_jsonb = case target.position % 5
        when 0 then '["only.text@work.example"]'::jsonb
        when 1 then '[{"type": "Work"}]'::jsonb
        when 2 then '[{"email": null, "type": "Work"}]'::jsonb
        when 3 then '{"email": "not.in.a.list@work.example", "type": "Work"}'::jsonb
        else '[{"email": "no address at all", "type": "Work"}]'::jsonb
    end
from pg_temp.demo_targets as target
where contact.id = target.id;
