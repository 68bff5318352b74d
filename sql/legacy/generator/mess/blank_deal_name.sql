update pg_temp.demo_deals as deal
set name = case target.position % 2 when 0 then ' ' else '' end
from pg_temp.demo_targets as target
where deal.id = target.id;
