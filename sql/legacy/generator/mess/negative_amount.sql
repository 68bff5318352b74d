update pg_temp.demo_deals as deal
set amount = -greatest(abs(deal.amount), 1)
from pg_temp.demo_targets as target
where deal.id = target.id;
