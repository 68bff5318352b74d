-- only generation 2025 has no foreign key here
update pg_temp.demo_tasks as task
set sales_id = 900000000 + task.id
from pg_temp.demo_targets as target
where task.id = target.id;
