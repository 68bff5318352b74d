update pg_temp.demo_deals as deal
set
    stage = case target.position % 3
        when 0 then upper(left(deal.stage, 1)) || substr(deal.stage, 2)
        when 1 then ' ' || deal.stage || ' '
        else upper(deal.stage)
    end
from pg_temp.demo_targets as target
where deal.id = target.id;
