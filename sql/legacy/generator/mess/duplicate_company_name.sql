-- never the name of a principal or a distributor: the mapping files name those
update pg_temp.demo_companies as company
set name = other.name
from pg_temp.demo_targets as target
inner join pg_temp.demo_companies as other
    on other.id = case target.id % 25 when 4 then target.id + 1 else target.id - 1 end
where company.id = target.id;
