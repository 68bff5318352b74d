update pg_temp.demo_tasks as task
set type = case target.position % 2 when 0 then 'Tasting' else 'carrier-pigeon' end
from pg_temp.demo_targets as target
where task.id = target.id;
