update pg_temp.demo_tasks as task
set due_date = case target.position % 2 when 0 then 'infinity'::timestamptz else '20260-11-02 09:00+00'::timestamptz end
from pg_temp.demo_targets as target
where task.id = target.id;
