update pg_temp.demo_deals as deal
set expected_closing_date = date_trunc('day', deal.created_at, 'UTC') - interval '1 day' * (30 + target.position % 300)
from pg_temp.demo_targets as target
where deal.id = target.id;
