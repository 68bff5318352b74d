update pg_temp.demo_deals as deal
set company_id = null
from pg_temp.demo_targets as target
where deal.id = target.id;
