update pg_temp.demo_deals as deal
set
    name = deal.name || case target.position % 4
        when 0 then ' 🍷🧀 "as quoted"'
        when 1 then ' قهوة للفندق'
        when 2 then E' – O''Hara\\Söhne, 100 %'
        else E'\nsecond line'
    end,
    description = E'First line\r\n\tsecond line with "quotes", ''apostrophes'', \\backslash\\ and עברית 👩‍🍳'
from pg_temp.demo_targets as target
where deal.id = target.id;
