update pg_temp.demo_companies as company
set name = case target.position % 2 when 0 then '' else '   ' end
from pg_temp.demo_targets as target
where company.id = target.id;
