update pg_temp.demo_deal_notes as note
set date = case target.position % 2 when 0 then '0202-03-01 00:00+00'::timestamptz else 'infinity'::timestamptz end
from pg_temp.demo_targets as target
where note.id = target.id;
