update pg_temp.demo_deals as deal
set
    contact_ids = case
        when cardinality(deal.contact_ids) > 0 then deal.contact_ids || deal.contact_ids[1]
        else array[someone.id, someone.id]
    end
from pg_temp.demo_targets as target
cross join (select min(id) as id from pg_temp.demo_contacts) as someone
where deal.id = target.id;
