update pg_temp.demo_deals as deal
set
    expected_closing_date = case target.position % 3
        when 0 then 'infinity'::timestamptz
        when 1 then '20260-03-01 00:00+00'::timestamptz
        else '9999-12-31 00:00+00'::timestamptz
    end
from pg_temp.demo_targets as target
where deal.id = target.id;
