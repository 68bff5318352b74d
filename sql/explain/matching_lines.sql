-- Which lines of a mapping file name a value, compared as the models compare them.
select line.position
from unnest(%(values)s::text[]) with ordinality as line (value, position)
where lower(btrim(line.value)) = coalesce(lower(btrim(%(wanted)s)), '')
order by 1
