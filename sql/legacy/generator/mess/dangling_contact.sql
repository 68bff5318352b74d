-- the contact was deleted, its id stayed
update pg_temp.demo_deals as deal
set contact_ids = coalesce(deal.contact_ids, array[]::bigint[]) || (900000000 + deal.id)
from pg_temp.demo_targets as target
where deal.id = target.id;
