update pg_temp.demo_deals as deal
set contact_ids = array_append(coalesce(deal.contact_ids, array[]::bigint[]), null::bigint)
from pg_temp.demo_targets as target
where deal.id = target.id;
